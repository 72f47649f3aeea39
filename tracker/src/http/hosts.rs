//! How many connections each host has, so that no IPv4 address and no IPv6 network of 64 bits takes the
//! places of all others: a few requests that never become whole would otherwise shut a tracker. Who has
//! a whole IPv6 /48 has 65,536 such networks, and can.

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::limits;

/// An IPv4 address, or the half of an IPv6 address that one host may choose freely within.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Host {
    V4([u8; 4]),
    V6Network([u8; 8]),
}

impl Host {
    /// `None` for this host: a proxy in front of the tracker brings connections of all clients.
    fn of(ip: IpAddr) -> Option<Host> {
        match ip.to_canonical() {
            ip if ip.is_loopback() => None,
            IpAddr::V4(ip) => Some(Host::V4(ip.octets())),
            IpAddr::V6(ip) => ip.octets().first_chunk().copied().map(Host::V6Network),
        }
    }
}

/// The open connections of each host; at most one entry for each connection.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    connections: HashMap<Host, usize>,
}

impl Hosts {
    /// Whether a host has as many as it may have when the tracker is crowded, of `connections_max`.
    pub(super) fn has_its_share(&self, ip: IpAddr, connections_max: usize) -> bool {
        let share = (connections_max / limits::CROWDED_HOSTS).max(1);
        Host::of(ip).is_some_and(|host| self.connections.get(&host).is_some_and(|n| *n >= share))
    }

    pub(super) fn opened(&mut self, ip: IpAddr) {
        if let Some(host) = Host::of(ip) {
            *self.connections.entry(host).or_default() += 1;
        }
    }

    pub(super) fn closed(&mut self, ip: IpAddr) {
        if let Some(host) = Host::of(ip)
            && let Some(count) = self.connections.get_mut(&host)
        {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_has_its_share_by_address_or_network() {
        let most = limits::CROWDED_HOSTS * 2;
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ] {
            let mut hosts = Hosts::default();
            hosts.opened(ip(one));
            assert!(!hosts.has_its_share(ip(one), most));
            hosts.opened(ip(same));
            assert!(hosts.has_its_share(ip(one), most) && hosts.has_its_share(ip(same), most));
            assert!(!hosts.has_its_share(ip(other), most));
            hosts.closed(ip(one));
            assert!(!hosts.has_its_share(ip(same), most));
            hosts.closed(ip(same));
            assert!(hosts.connections.is_empty(), "who has gone is forgotten");
        }
    }

    #[test]
    fn this_host_may_bring_the_connections_of_all() {
        let mut hosts = Hosts::default();
        for proxy in ["127.0.0.1", "::1"] {
            (0..10).for_each(|_| hosts.opened(ip(proxy)));
            assert!(!hosts.has_its_share(ip(proxy), 1));
        }
    }
}
