//! What stands outside the info dictionary and is in no infohash. Nothing of it is vital, so
//! what is unusable is left out with a warning.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Warning, Warnings};
use crate::bencode::Value;
use crate::limits::{TRACKERS_MAX, URL_BYTES_MAX, WEB_SEEDS_MAX};

/// Trackers, web seeds and remarks.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Outer {
    /// Tracker URLs in tiers (BEP 12); `announce` alone is one tier of one.
    pub tiers: Vec<Vec<Box<str>>>,
    /// URLs of HTTP servers that have the content (BEP 19).
    pub web_seeds: Vec<Box<str>>,
    /// A remark of the author.
    pub comment: Option<Box<str>>,
    /// The program that made it.
    pub created_by: Option<Box<str>>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
}

impl Outer {
    pub(super) fn read(root: Value<'_>, warnings: &mut Warnings) -> Outer {
        let mut outer = Outer {
            tiers: tiers(root, warnings),
            web_seeds: Vec::new(),
            comment: text(root, "comment", warnings),
            created_by: text(root, "created by", warnings),
            creation_date: root.get(b"creation date").and_then(|date| date.as_int()),
        };
        if let Some(seeds) = root.get(b"url-list") {
            let single = seeds.as_bytes().map(|_| seeds);
            let list = seeds.as_list().into_iter().flat_map(|list| list.iter());
            // An empty string stands for "none" in many files.
            for seed in single.into_iter().chain(list).filter(|seed| seed.as_bytes() != Some(b"")) {
                match url(seed).filter(|_| outer.web_seeds.len() < WEB_SEEDS_MAX) {
                    Some(url) => outer.web_seeds.push(url),
                    None => ignore("url-list", seed, warnings),
                }
            }
        }
        outer
    }

    /// All tracker URLs, tier by tier.
    pub fn trackers(&self) -> impl Iterator<Item = &str> {
        self.tiers.iter().flatten().map(AsRef::as_ref)
    }
}

/// BEP 12: "If the client is compatible with the multitracker specification, and if the
/// announce-list key is present, the client will ignore the announce key".
fn tiers(root: Value<'_>, warnings: &mut Warnings) -> Vec<Vec<Box<str>>> {
    let mut tiers: Vec<Vec<Box<str>>> = Vec::new();
    let mut left = TRACKERS_MAX;
    let list = root.get(b"announce-list");
    for tier in list.and_then(|list| list.as_list()).into_iter().flat_map(|list| list.iter()) {
        // Some files list URLs where tiers belong: each is a tier of one.
        let single = tier.as_bytes().map(|_| tier);
        let mut urls = Vec::new();
        let members = tier.as_list().into_iter().flat_map(|tier| tier.iter());
        for tracker in single.into_iter().chain(members) {
            let usable = url(tracker).filter(|_| left > 0);
            left = left.saturating_sub(1);
            match usable {
                Some(url) if tiers.iter().flatten().chain(&urls).any(|known| *known == url) => {}
                Some(url) => urls.push(url),
                None => ignore("announce-list", tracker, warnings),
            }
        }
        if !urls.is_empty() {
            tiers.push(urls);
        }
    }
    if tiers.is_empty()
        && let Some(announce) = root.get(b"announce").filter(|url| url.as_bytes() != Some(b""))
    {
        match url(announce) {
            Some(url) => tiers.push([url].into()),
            None => ignore("announce", announce, warnings),
        }
    }
    tiers
}

/// A URL as far as a torrent is concerned: visible ASCII of bounded length with a scheme. Whether
/// the scheme is spoken is for those who connect.
fn url(value: Value<'_>) -> Option<Box<str>> {
    let text = value.as_str()?.trim_ascii();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii());
    (is_plain && text.len() <= URL_BYTES_MAX && text.contains("://")).then(|| text.into())
}

fn text(root: Value<'_>, key: &'static str, warnings: &mut Warnings) -> Option<Box<str>> {
    let value = root.get(key.as_bytes())?;
    let text = value.as_str();
    if text.is_none() {
        ignore(key, value, warnings);
    }
    text.filter(|text| !text.is_empty()).map(Box::from)
}

fn ignore(key: &'static str, value: Value<'_>, warnings: &mut Warnings) {
    warnings.push(Warning::Ignored { key, offset: value.offset() });
}
