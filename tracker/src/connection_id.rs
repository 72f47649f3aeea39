//! BEP 15 connection ids: the proof that a datagram's sender receives at the address it claims.
//!
//! # Threat model
//! Anybody can send a datagram with anybody's source address. Without a proof, one host could
//! list others in a swarm, and could have our answers, up to a dozen times the size of the
//! request, sent to a victim. The proof is a number that we send to the claimed address and see
//! again. Nothing is kept for it: it is a keyed hash of the address and of the minute.
//!
//! * *Guessing*: 56 of its bits are SipHash-2-4 under a random key, a new one each hour. A guesser
//!   who sends a million datagrams a second, each id valid for three minutes at most, has one
//!   chance in 400 million to hit in that time.
//! * *Collecting*: ids seen at one's own addresses say nothing about others'; SipHash is made for that.
//! * *Leaks*: who has come to know a key has it for an hour; the next one does not follow from it.
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
pub struct ConnectionIds {
    /// Of the hour at hand.
    key: SipHasher24,
    /// Of the hour before it, whose ids are good for some minutes yet.
    key_before: SipHasher24,
    hour: u64,
}

/// Bits of an id that tell in which window it was made.
const WINDOW_BITS: u32 = 8;

/// Windows in which an id is good after the one it was made in: accepted for two minutes
/// at least (BEP 15), three at most.
const WINDOWS_KEPT: u8 = 2;

impl ConnectionIds {
    /// `key` must be random and secret.
    pub fn new(key: &[u8; 16]) -> ConnectionIds {
        let key = SipHasher24::new_with_key(key);
        ConnectionIds { key, key_before: key, hour: 0 }
    }

    /// Takes another key when an hour has begun: `fresh` is asked for it, which must be random and
    /// secret; when it has none, the old one goes on. To be called before ids are issued or checked at `now`.
    pub fn renew(&mut self, now: Instant, fresh: impl Fn() -> Option<[u8; 16]>) {
        let hour = window(now) / limits::CONNECTION_KEY_WINDOWS;
        if hour <= self.hour {
            return;
        }
        let next = fresh().map_or(self.key, |key| SipHasher24::new_with_key(&key));
        // After a longer pause no id is good any more.
        self.key_before = if hour == self.hour + 1 { self.key } else { next };
        (self.key, self.hour) = (next, hour);
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
        let of_this_hour = window / limits::CONNECTION_KEY_WINDOWS >= self.hour;
        let key = if of_this_hour { &self.key } else { &self.key_before };
        key.hash(&message) << WINDOW_BITS | low
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
    fn a_key_lasts_an_hour_and_its_ids_as_long_as_any() {
        let mut ids = ConnectionIds::new(&[7; 16]);
        let fresh = |number: u8| move || Some([number; 16]);
        let mut issued = vec![];
        for second in (0..4 * 3600).step_by(20) {
            ids.renew(at(second), fresh((second / 3600) as u8));
            issued.push((second, ids.issue(at(second), HERE)));
            for (then, id) in &issued {
                let age = second - then;
                let good = ids.accepts(at(second), HERE, *id);
                assert!(good || age > 120, "{age} s after {then} s");
                assert!(!good || age < 180, "{age} s after {then} s");
            }
        }
        // The key is another one: what it made before does not come again.
        let mut first = ConnectionIds::new(&[7; 16]);
        let same_hour = first.issue(at(3599), HERE);
        first.renew(at(3599), fresh(9));
        assert_eq!(first.issue(at(3599), HERE), same_hour, "before the hour nothing changes");
        let kept = first.issue(at(3600), HERE);
        first.renew(at(3600), fresh(9));
        assert_ne!(first.issue(at(3600), HERE), kept);
        // Without a fresh key the old one goes on.
        let mut poor = ConnectionIds::new(&[7; 16]);
        poor.renew(at(3600), || None);
        assert_eq!(poor.issue(at(3600), HERE), kept);
        // After a longer pause neither key is left.
        let mut late = ConnectionIds::new(&[7; 16]);
        late.renew(at(7200), fresh(9));
        let old = ConnectionIds::new(&[7; 16]).issue(at(7190), HERE);
        assert!(!late.accepts(at(7200), HERE, old));
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
