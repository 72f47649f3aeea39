//! Socket addresses in the kernel's form.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::sys::{Errno, errno};

/// Bytes of the largest address of ours (sockaddr_in6).
pub(crate) const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// A sockaddr with room for IPv4 and IPv6.
#[repr(C)]
#[derive(Clone, Copy)]
pub union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    bytes: [u8; ADDRESS_BYTES],
}

impl RawAddress {
    /// No address.
    pub(crate) const NONE: RawAddress = RawAddress { bytes: [0; ADDRESS_BYTES] };

    /// For system calls that read it.
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (self as *const RawAddress).cast()
    }

    /// Its length, by its family.
    pub(crate) fn len(&self) -> libc::socklen_t {
        // SAFETY: every variant begins with the family (C layout), and all bytes are initialised.
        let family = unsafe { self.family };
        match i32::from(family) {
            libc::AF_INET => size_of::<libc::sockaddr_in>() as libc::socklen_t,
            _ => size_of::<libc::sockaddr_in6>() as libc::socklen_t,
        }
    }

    /// Lets a system call write an address.
    pub(crate) fn fill(
        call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> i32,
    ) -> Result<SocketAddr, Errno> {
        let mut raw = RawAddress { bytes: [0; ADDRESS_BYTES] };
        let mut length = ADDRESS_BYTES as libc::socklen_t;
        let at: *mut RawAddress = &mut raw;
        if call(at.cast(), &mut length) < 0 {
            return Err(errno());
        }
        raw.parse().ok_or(libc::EAFNOSUPPORT)
    }

    /// From the bytes of an address (of at most [`ADDRESS_BYTES`]).
    pub(crate) fn from_bytes(from: &[u8]) -> RawAddress {
        let mut bytes = [0; ADDRESS_BYTES];
        let length = from.len().min(ADDRESS_BYTES);
        bytes[..length].copy_from_slice(&from[..length]);
        RawAddress { bytes }
    }

    /// The address, if its family is IPv4 or IPv6.
    pub(crate) fn parse(&self) -> Option<SocketAddr> {
        // SAFETY: every variant begins with the family (C layout), and all bytes are initialised.
        let family = unsafe { self.family };
        match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: the family says so, and any bytes are a valid sockaddr_in.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: the family says so, and any bytes are a valid sockaddr_in6.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for RawAddress {
    fn from(address: SocketAddr) -> RawAddress {
        let mut raw = RawAddress { bytes: [0; ADDRESS_BYTES] };
        match address {
            SocketAddr::V4(v4) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                    sin_zero: [0; 8],
                };
            }
            SocketAddr::V6(v6) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
            }
        }
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for text in ["127.0.0.1:6881", "[::1]:80", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::from(address).parse(), Some(address));
        }
    }

    #[test]
    fn an_address_of_another_family_is_none() {
        assert_eq!(RawAddress::from_bytes(&[1, 0, b'/', b'x']).parse(), None);
    }
}
