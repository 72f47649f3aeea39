//! BEP 15 connection ids: the proof that a datagram's sender receives at the address it claims.
//!
//! # Threat model
//! Anybody can send a datagram with anybody's source address. Without a proof, one host could
//! list others in a swarm, and could have our answers, up to a dozen times the size of the
//! request, sent to a victim. The proof is a number that we send to the claimed address and see
//! again. Nothing is kept for it: it is a keyed hash of the address and of the minute.
//!
//! * *Guessing*: 56 of its bits are SipHash-2-4 under a random key of this process. A guesser
//!   who sends a million datagrams a second, each id valid for three minutes at most, has one
//!   chance in 400 million to hit in that time.
//! * *Collecting*: ids seen at one's own addresses say nothing about others'; SipHash is made for that.
//! * *Timing*: the comparison takes the same time wherever the first difference is.
//! * *Replay*: whoever reads the path between us and the victim can use the victim's id while
//!   it lasts. BEP 15 accepts that, and so do we.
//! * *Amplification*: the only answer to an unproven address, the connect response, is as long as
//!   the request (16 bytes).
//!
//! The port is not part of it: behind some address translators it changes from one datagram to
//! the next, and the address is what a forger must not choose.

use std::net::IpAddr;

use ringseed_meta::Instant;
use siphasher::sip::SipHasher24;

use crate::limits;

/// Makes and checks connection ids.
pub struct ConnectionIds(SipHasher24);

/// Bits of an id that tell in which window it was made.
const WINDOW_BITS: u32 = 8;

/// Windows in which an id is good after the one it was made in: accepted for two minutes
/// at least (BEP 15), three at most.
const WINDOWS_KEPT: u8 = 2;

impl ConnectionIds {
    /// `key` must be random and secret.
    pub fn new(key: &[u8; 16]) -> ConnectionIds {
        ConnectionIds(SipHasher24::new_with_key(key))
    }

    /// The id for whoever receives at `ip`.
    pub fn issue(&self, now: Instant, ip: IpAddr) -> u64 {
        self.of(window(now), ip)
    }

    /// Whether `id` was issued to `ip` in the last two to three minutes.
    pub fn accepts(&self, now: Instant, ip: IpAddr, id: u64) -> bool {
        let this = window(now);
        let age = (this as u8).wrapping_sub(id as u8);
        let issued = this.wrapping_sub(u64::from(age));
        let difference = std::hint::black_box(self.of(issued, ip) ^ id);
        age <= WINDOWS_KEPT && difference == 0
    }

    fn of(&self, window: u64, ip: IpAddr) -> u64 {
        let ip = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut message = [0; 24];
        let (to_ip, to_window) = message.split_at_mut(16);
        to_ip.copy_from_slice(&ip.octets());
        to_window.copy_from_slice(&window.to_be_bytes());
        let low = window & ((1 << WINDOW_BITS) - 1);
        self.0.hash(&message) << WINDOW_BITS | low
    }
}

fn window(now: Instant) -> u64 {
    now.as_us() / (u64::from(limits::CONNECTION_ID_WINDOW_S) * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn at(seconds: u64) -> Instant {
        Instant::from_us(seconds * 1_000_000)
    }

    #[test]
    fn an_id_is_good_for_two_minutes_and_never_for_more_than_three() {
        let ids = ConnectionIds::new(&[7; 16]);
        for issued in [0, 1, 59, 60, 61, 15_359, 15_360, 4_000_000] {
            let id = ids.issue(at(issued), HERE);
            for age in 0..=120 {
                assert!(ids.accepts(at(issued + age), HERE, id), "{age} s after {issued} s");
            }
            for age in 180..40_000 {
                assert!(!ids.accepts(at(issued + age), HERE, id), "{age} s after {issued} s");
            }
        }
    }

    #[test]
    fn an_id_from_the_future_is_not_good() {
        let ids = ConnectionIds::new(&[7; 16]);
        assert!(!ids.accepts(at(100), HERE, ids.issue(at(200), HERE)));
    }

    #[test]
    fn an_id_is_of_no_use_to_another_process() {
        let id = ConnectionIds::new(&[7; 16]).issue(at(0), HERE);
        assert!(!ConnectionIds::new(&[8; 16]).accepts(at(0), HERE, id));
    }

    #[test]
    fn a_mapped_address_is_the_same_address() {
        let ids = ConnectionIds::new(&[7; 16]);
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert!(ids.accepts(at(0), mapped, ids.issue(at(0), HERE)));
    }

    proptest! {
        #[test]
        fn an_id_is_good_for_its_own_address_only(first: [u8; 16], second: [u8; 16], key: [u8; 16]) {
            prop_assume!(first != second);
            let ids = ConnectionIds::new(&key);
            let id = ids.issue(at(0), IpAddr::from(first));
            prop_assert!(ids.accepts(at(0), IpAddr::from(first), id));
            prop_assert!(!ids.accepts(at(0), IpAddr::from(second), id));
        }

        #[test]
        fn no_bit_of_an_id_may_change(ip: [u8; 16], bit in 0..64u32, seconds in 0..1_000_000u64) {
            let ids = ConnectionIds::new(&[7; 16]);
            let id = ids.issue(at(seconds), IpAddr::from(ip));
            prop_assert!(!ids.accepts(at(seconds), IpAddr::from(ip), id ^ (1 << bit)));
        }
    }
}
