//! Who may connect: a limit for all and one for each address, shared by the workers without a lock.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::DefaultHashBuilder;

pub mod limits {
    //! Bounds of admission.

    /// Cells of the table of addresses (4 bytes each). Two addresses that share a cell share
    /// their limit, which at 100,000 connections costs next to nobody a connection.
    pub const ADDRESS_CELLS: usize = 1 << 16;
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    Full,
    AddressFull,
}

/// Counts connections, in all and by address (IPv6: by /64, which is what one host has).
pub struct Admission {
    connections_max: u32,
    per_address_max: u32,
    connections: AtomicU32,
    cells: Box<[AtomicU32]>,
    /// Keyed at random, so that nobody can choose addresses that collide.
    hasher: DefaultHashBuilder,
}

impl Admission {
    /// `per_address_max` 0: no limit for an address.
    pub fn new(connections_max: u32, per_address_max: u32) -> Admission {
        Admission {
            connections_max,
            per_address_max,
            connections: AtomicU32::new(0),
            cells: (0..limits::ADDRESS_CELLS).map(|_| AtomicU32::new(0)).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    fn cell(&self, address: IpAddr) -> &AtomicU32 {
        let host = match address {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => IpAddr::V4(address),
                None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            },
        };
        let hash = self.hasher.hash_one(host) as usize;
        &self.cells[hash % self.cells.len()]
    }

    /// Counts a connection in, or says why not.
    pub fn admit(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Full);
        }
        let before = self.cell(address).fetch_add(1, Ordering::Relaxed);
        if self.per_address_max > 0 && before >= self.per_address_max {
            self.leave(address);
            return Err(Refusal::AddressFull);
        }
        Ok(())
    }

    /// Counts an admitted connection out.
    pub fn leave(&self, address: IpAddr) {
        self.cell(address).fetch_sub(1, Ordering::Relaxed);
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_limit_in_all_holds_and_a_place_that_was_left_is_free_again() {
        let admission = Admission::new(2, 0);
        assert_eq!(admission.admit(v4(1)), Ok(()));
        assert_eq!(admission.admit(v4(2)), Ok(()));
        assert_eq!(admission.admit(v4(3)), Err(Refusal::Full));
        admission.leave(v4(1));
        assert_eq!(admission.admit(v4(3)), Ok(()));
    }

    #[test]
    fn the_limit_of_an_address_counts_mapped_v4_and_the_v6_prefix() {
        let admission = Admission::new(100, 1);
        assert_eq!(admission.admit(v4(1)), Ok(()));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(admission.admit(mapped), Err(Refusal::AddressFull));
        assert_eq!(admission.admit("2001:db8::1".parse().unwrap()), Ok(()));
        let neighbour = "2001:db8::2".parse().unwrap();
        assert_eq!(admission.admit(neighbour), Err(Refusal::AddressFull));
        admission.leave(v4(1));
        assert_eq!(admission.admit(mapped), Ok(()));
    }
}
