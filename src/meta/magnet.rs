//! Magnet links: `btih` and `btmh` (BEP 9), file selection (BEP 53).

mod parse;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::limits::MAGNET_BYTES_MAX;
use crate::{InfoHash, InfoHashV2, Metainfo};

pub use parse::MagnetError;

/// What a magnet link says. At least one infohash is there.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Magnet {
    /// `xt=urn:btih:`
    pub info_hash_v1: Option<InfoHash>,
    /// `xt=urn:btmh:1220`
    pub info_hash_v2: Option<InfoHashV2>,
    /// `dn`: a name to show until the info dictionary is there. As it was written: no path.
    pub name: Option<Box<str>>,
    /// `xl`: bytes of the content.
    pub content_bytes: Option<u64>,
    /// `tr`: tracker URLs.
    pub trackers: Vec<Box<str>>,
    /// `ws`: web seeds (BEP 19).
    pub web_seeds: Vec<Box<str>>,
    /// `x.pe`: peers, as `host:port`.
    pub peers: Vec<Box<str>>,
    /// `so`: the files wanted, as ranges of their indices, both ends included (BEP 53).
    pub files: Vec<(u32, u32)>,
}

impl Magnet {
    /// Reads a link.
    ///
    /// # Errors
    /// [`MagnetError`] names what is missing or unusable.
    pub fn parse(link: &str) -> Result<Magnet, MagnetError> {
        parse::parse(link)
    }

    /// The link by which a torrent is found. The trackers of a private torrent are in it too;
    /// of very long lists, as many as leave the link one that is read.
    pub fn of(metainfo: &Metainfo) -> Magnet {
        Magnet {
            info_hash_v1: metainfo.info_hash_v1(),
            info_hash_v2: metainfo.info_hash_v2(),
            name: Some(metainfo.name().into()),
            content_bytes: Some(metainfo.geometry().content_bytes()),
            trackers: that_fit(metainfo.outer().trackers()),
            web_seeds: that_fit(metainfo.outer().web_seeds.iter().map(AsRef::as_ref)),
            peers: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// The first URLs that take no more than a third of a link: names and hashes fit the last one.
fn that_fit<'a>(urls: impl Iterator<Item = &'a str>) -> Vec<Box<str>> {
    let mut left = MAGNET_BYTES_MAX / 3;
    let fitting = urls.take_while(|url| {
        // "&tr=", and three bytes for one at most.
        let bytes = url.len().saturating_mul(3).saturating_add(4);
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    });
    fitting.map(Box::from).collect()
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("magnet:?")?;
        let mut between = "";
        if let Some(hash) = self.info_hash_v1 {
            write!(f, "xt=urn:btih:{hash}")?;
            between = "&";
        }
        if let Some(hash) = self.info_hash_v2 {
            // 0x12: SHA-256, 0x20: its 32 bytes (multihash).
            write!(f, "{between}xt=urn:btmh:1220{hash}")?;
        }
        if let Some(name) = &self.name {
            write!(f, "&dn={}", Escaped(name))?;
        }
        if let Some(bytes) = self.content_bytes {
            write!(f, "&xl={bytes}")?;
        }
        for (key, values) in
            [("tr", &self.trackers), ("ws", &self.web_seeds), ("x.pe", &self.peers)]
        {
            values.iter().try_for_each(|value| write!(f, "&{key}={}", Escaped(value)))?;
        }
        for (at, (first, last)) in self.files.iter().enumerate() {
            f.write_str(if at == 0 { "&so=" } else { "," })?;
            write!(f, "{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests index what they made")]
mod tests {
    use std::format;
    use std::string::{String, ToString};
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

    #[test]
    fn hex_and_base32_name_the_same_infohash() {
        let hex = Magnet::parse(&format!("magnet:?xt=urn:btih:{HEX}")).unwrap();
        let upper = format!("MAGNET:?xt=urn:BTIH:{}", HEX.to_uppercase());
        let base32 = "magnet:?xt=urn:btih:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK";
        assert_eq!(hex.info_hash_v1.unwrap().to_string(), HEX);
        assert_eq!(Magnet::parse(&upper).unwrap(), hex);
        assert_eq!(Magnet::parse(base32).unwrap(), hex);
        assert_eq!(Magnet::parse(&base32.to_lowercase()).unwrap(), hex);
    }

    #[test]
    fn a_hybrid_link_has_both_hashes() {
        let v2 = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e";
        let link = format!("magnet:?xt=urn:btih:{HEX}&xt=urn:btmh:1220{v2}&dn=a%20b+c&so=0,2-4");
        let magnet = Magnet::parse(&link).unwrap();
        assert_eq!(magnet.info_hash_v2.unwrap().to_string(), v2);
        assert_eq!(magnet.name.as_deref(), Some("a b c"));
        assert_eq!(magnet.files, [(0, 0), (2, 4)]);
    }

    #[test]
    fn what_names_no_torrent_is_refused() {
        assert_eq!(Magnet::parse("http://a/b"), Err(MagnetError::NoMagnet));
        assert_eq!(Magnet::parse("magnet:?dn=x"), Err(MagnetError::NoInfoHash));
        let sha1 = "magnet:?xt=urn:btmh:1114aa";
        for bad in ["magnet:?xt=urn:btih:123", "magnet:?xt=urn:btmh:12209", sha1] {
            assert!(matches!(Magnet::parse(bad), Err(MagnetError::BadInfoHash(_))), "{bad}");
        }
        let two = format!("magnet:?xt=urn:btih:{HEX}&xt=urn:btih:{}", HEX.replace('c', "d"));
        assert_eq!(Magnet::parse(&two), Err(MagnetError::TwoInfoHashes));
        let long = format!("magnet:?xt=urn:btih:{HEX}&dn={}", "x".repeat(1 << 16));
        assert!(matches!(Magnet::parse(&long), Err(MagnetError::TooLong(_))));
        let range = format!("magnet:?xt=urn:btih:{HEX}&so=4-2");
        assert!(matches!(Magnet::parse(&range), Err(MagnetError::BadValue { key: "so", .. })));
    }

    #[test]
    fn unknown_keys_and_foreign_names_are_passed_over() {
        let link = format!("magnet:?xt=urn:sha1:AAA&xt.1=urn:btih:{HEX}&tr.2=udp://t:1&as=x&&junk");
        let magnet = Magnet::parse(&link).unwrap();
        assert_eq!(magnet.trackers, [Box::from("udp://t:1")]);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            v1: [u8; 20], v2: Option<[u8; 32]>, name in "\\PC{0,20}",
            urls in prop::collection::vec("[a-z]{1,4}://[ -~]{1,20}", 0..3),
            content_bytes: Option<u64>, first in 0u32..9, more in 0u32..9,
        ) {
            let urls: Vec<Box<str>> = urls.into_iter().map(String::into_boxed_str).collect();
            let magnet = Magnet {
                info_hash_v1: Some(InfoHash(v1)),
                info_hash_v2: v2.map(InfoHashV2),
                name: Some(name.into()),
                content_bytes,
                trackers: urls.clone(),
                web_seeds: urls,
                peers: vec!["[::1]:6881".into()],
                files: vec![(first, first.saturating_add(more)), (7, 7)],
            };
            prop_assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet));
        }

        #[test]
        fn arbitrary_links_never_panic(link in "(magnet:\\?)?(xt=urn:btih:|xt=|so=|%|&|.){0,12}") {
            let _ = Magnet::parse(&link);
        }
    }
}
