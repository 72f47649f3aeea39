//! Whom a request comes from when a proxy brings it: its PROXY header (version 2 of the protocol of
//! HAProxy) or `X-Forwarded-For`. Only what proxies say that were named is believed: whoever else could
//! name a victim's address.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Addresses that begin alike: `10.0.0.0/8`, or a whole address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    ip: IpAddr,
    bits: u8,
}

/// Why a text is no prefix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PrefixError {
    /// Not an address, or a length that its family does not have.
    #[error("{0:?} is no address and no prefix: write 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32")]
    Malformed(String),
    /// It says less than it seems to.
    #[error("{text:?} has bits set behind its prefix: write {}", meant)]
    Loose {
        /// As given.
        text: String,
        /// Without those bits.
        meant: Prefix,
    },
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Prefix, PrefixError> {
        text.parse()
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let malformed = || PrefixError::Malformed(text.to_owned());
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits.parse().map_err(|_| malformed())?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| malformed())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.unwrap_or(most);
        if bits > most || ip.to_canonical() != ip {
            return Err(malformed());
        }
        let meant = Prefix { ip: first_bits(ip, bits), bits };
        match meant.ip == ip {
            true => Ok(meant),
            false => Err(PrefixError::Loose { text: text.to_owned(), meant }),
        }
    }
}

/// The address with all bits behind the first ones cleared.
fn first_bits(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}

/// The proxies that are believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Proxies([Option<Prefix>; limits::PROXIES_MAX]);

impl Proxies {
    /// Those at these addresses; `None`: they are more than [`limits::PROXIES_MAX`].
    pub fn new(prefixes: &[Prefix]) -> Option<Proxies> {
        let mut proxies = Proxies::default();
        let places = proxies.0.get_mut(..prefixes.len())?;
        places.iter_mut().zip(prefixes).for_each(|(place, prefix)| *place = Some(*prefix));
        Some(proxies)
    }

    /// In the order in which they were named.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.0.iter().flatten().copied()
    }

    /// Whether what comes from there is believed.
    pub(crate) fn include(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().flatten().any(|prefix| first_bits(ip, prefix.bits) == prefix.ip)
    }

    /// Who asks, when `from` brings a request with these fields: the last address in them that is none
    /// of a proxy, since each proxy appends whom it was asked by and what stands before may be
    /// invented. `None`: a proxy has written what is no address.
    pub(super) fn client(&self, from: IpAddr, forwarded: &Forwarded<'_>) -> Option<IpAddr> {
        let mut client = from;
        let fields = forwarded.0.iter().rev().filter(|field| !field.is_empty());
        for entry in fields.flat_map(|field| field.rsplit(|byte| *byte == b',')) {
            if !self.include(client) {
                break;
            }
            client = address(entry.trim_ascii())?;
        }
        Some(client)
    }
}

/// An address as proxies write it: some with a port, and then one of IPv6 in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let ip = bare.parse().or_else(|_| entry.parse().map(|address: SocketAddr| address.ip()));
    ip.ok().map(|ip: IpAddr| ip.to_canonical())
}

/// The `X-Forwarded-For` fields of a request, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Forwarded<'a>([&'a [u8]; limits::FORWARDED_FIELDS_MAX]);

impl<'a> Forwarded<'a> {
    /// Takes one more in; `false`: they are too many.
    pub(super) fn push(&mut self, field: &'a [u8]) -> bool {
        let place = self.0.iter_mut().find(|place| place.is_empty());
        place.map(|place| *place = field).is_some()
    }

    /// Nobody is named.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|field| field.is_empty())
    }
}

/// What stands at the beginning of a connection that a proxy has opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Preface {
    /// A header of so many bytes; `None` for a connection of the proxy's own, or of no known family.
    Complete {
        bytes: usize,
        client: Option<IpAddr>,
    },
    /// The beginning of one.
    Incomplete,
    /// Something else.
    Absent,
    Malformed,
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Reads a PROXY header of version 2.
pub(super) fn preface(bytes: &[u8]) -> Preface {
    let so_far = bytes.len().min(SIGNATURE.len());
    if bytes.get(..so_far) != SIGNATURE.get(..so_far) {
        return Preface::Absent;
    }
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else { return Preface::Incomplete };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > limits::PROXY_HEADER_BYTES_MAX || !matches!(command, 0x20 | 0x21) {
        return Preface::Malformed;
    }
    let Some(addresses) = rest.get(..length) else { return Preface::Incomplete };
    let client = match (command, family) {
        // LOCAL: the proxy looks whether we are there.
        (0x20, _) => Ok(None),
        // TCP over IPv4, over IPv6: source and destination, then their ports, then what else it tells.
        (_, 0x11) => source::<4>(addresses, 12).map(Some).ok_or(()),
        (_, 0x21) => source::<16>(addresses, 36).map(Some).ok_or(()),
        // "the receiver should ignore address information": unspecified, UNIX, datagrams.
        (_, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Ok(None),
        _ => Err(()),
    };
    match client {
        Ok(client) => Preface::Complete { bytes: head.len() + length, client },
        Err(()) => Preface::Malformed,
    }
}

/// The first address of a block that has at least `bytes`.
fn source<const N: usize>(addresses: &[u8], bytes: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; N]>,
{
    let ip = addresses.first_chunk::<N>().filter(|_| addresses.len() >= bytes)?;
    Some(IpAddr::from(*ip).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies(prefixes: &[&str]) -> Proxies {
        let prefixes: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        Proxies::new(&prefixes).unwrap()
    }

    #[test]
    fn a_prefix_has_those_that_begin_like_it() {
        for (prefix, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
        ] {
            let proxies = proxies(&["198.51.100.7", prefix]);
            assert!(proxies.include(ip(inside)), "{inside} in {prefix}");
            assert!(!proxies.include(ip(outside)), "{outside} in {prefix}");
        }
        assert!(!Proxies::default().include(ip("127.0.0.1")));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "::/129", "/8", "::ffff:1.2.3.4"] {
            let error = text.parse::<Prefix>().unwrap_err();
            assert_eq!(error, PrefixError::Malformed(text.to_owned()));
        }
        let error = "10.1.0.0/8".parse::<Prefix>().unwrap_err().to_string();
        assert!(error.contains("write 10.0.0.0/8"), "{error}");
        let one: Prefix = "::1".parse().unwrap();
        assert!(Proxies::new(&[one; limits::PROXIES_MAX]).is_some());
        assert!(Proxies::new(&[one; limits::PROXIES_MAX + 1]).is_none());
    }

    #[test]
    fn the_last_that_is_no_proxy_is_the_client() {
        let proxies = proxies(&["10.0.0.0/8", "fd00::/8"]);
        let client = |from: &str, fields: &[&str]| {
            let mut forwarded = Forwarded::default();
            assert!(fields.iter().all(|field| forwarded.push(field.as_bytes())));
            proxies.client(ip(from), &forwarded).map(|ip| ip.to_string())
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(client("10.0.0.1", &["192.0.2.5"]), is("192.0.2.5"));
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 192.0.2.5"]), is("192.0.2.5"), "invented");
        assert_eq!(client("10.0.0.1", &["192.0.2.5 ,10.0.0.2"]), is("192.0.2.5"), "two proxies");
        assert_eq!(client("10.0.0.1", &["192.0.2.5", "10.0.0.2"]), is("192.0.2.5"), "two fields");
        assert_eq!(client("10.0.0.1", &["192.0.2.5:1234"]), is("192.0.2.5"));
        assert_eq!(client("fd00::1", &["[2001:db8::1]:443"]), is("2001:db8::1"));
        assert_eq!(client("fd00::1", &["[2001:db8::1]"]), is("2001:db8::1"));
        assert_eq!(client("10.0.0.1", &["::ffff:192.0.2.5"]), is("192.0.2.5"));
        assert_eq!(client("10.0.0.1", &[]), is("10.0.0.1"));
        assert_eq!(client("10.0.0.1", &["10.0.0.3"]), is("10.0.0.3"));
        assert_eq!(client("192.0.2.9", &["192.0.2.5"]), is("192.0.2.9"), "not believed");
        assert_eq!(client("192.0.2.9", &["unknown"]), is("192.0.2.9"), "not even looked at");
        for malformed in ["unknown", "192.0.2.5,", "1.2.3", "192.0.2.5 192.0.2.6", "\u{e9}"] {
            assert_eq!(client("10.0.0.1", &[malformed]), None, "{malformed}");
        }
    }

    fn header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = (addresses.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    #[test]
    fn a_proxy_header_names_the_client() {
        let v4 = [192, 0, 2, 5, 10, 0, 0, 1, 0, 80, 0, 81];
        let tail = [&v4[..], &[4, 0, 1, 9]].concat();
        let v6 = [&[0x20, 1][..], &[0; 13], &[7], &[0; 20]].concat();
        for (header, client) in [
            (header(0x21, 0x11, &v4), Some("192.0.2.5")),
            (header(0x21, 0x11, &tail), Some("192.0.2.5")),
            (header(0x21, 0x21, &v6), Some("2001::7")),
            (header(0x20, 0x11, &v4), None),
            (header(0x21, 0, &[]), None),
        ] {
            for cut in 0..header.len() {
                assert_eq!(preface(&header[..cut]), Preface::Incomplete, "{cut}");
            }
            let read = preface(&[&header[..], b"GET /"].concat());
            assert_eq!(read, Preface::Complete { bytes: header.len(), client: client.map(ip) });
        }
        for malformed in [
            header(0x11, 0x11, &v4),
            header(0x22, 0x11, &v4),
            header(0x21, 0x13, &v4),
            header(0x21, 0x11, &v4[..11]),
            header(0x21, 0x21, &v6[..35]),
            header(0x21, 0x11, &[0; limits::PROXY_HEADER_BYTES_MAX + 1]),
        ] {
            assert_eq!(preface(&malformed), Preface::Malformed);
        }
        assert_eq!(preface(b"GET / HTTP/1.1"), Preface::Absent);
        assert_eq!(preface(b"\r\nGET / HTTP/1.1"), Preface::Absent);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(command: u8, family: u8, addresses: Vec<u8>, cut: usize) {
            let header = header(command, family, &addresses);
            preface(&header[..cut % (header.len() + 1)]);
            address(&addresses);
        }
    }
}
