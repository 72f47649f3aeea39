//! The extension protocol (BEP 10) and metadata (BEP 9), abused.

use super::{Verdict, each, no_block, numbered};
use crate::abuse::ground::{EXTENDED, Ground};
use crate::abuse::peer::{EXTENDED as EXTENDED_ID, Frame, frame};

/// An extended message.
fn extended(id: u8, body: &[u8]) -> Vec<u8> {
    frame(EXTENDED_ID, &[&[id], body].concat())
}

pub(super) fn bomb(ground: &Ground<'_>) -> Verdict {
    let entries: String = (0..50_000).map(|number| format!("6:x{number:05}i1e")).collect();
    let deep = |open: &str, length: usize| format!("d1:v{}", open.repeat(length));
    let bodies = [
        format!("d1:md{entries}ee"),
        deep("l", 100_000),
        deep("d1:a", 100_000),
        "d1:v99999999999999999999:".into(),
        "d1:v4294967295:x".into(),
        format!("d13:metadata_sizei{}ee", "9".repeat(50_000)),
        "d1:md11:ut_metadatai-7ee13:metadata_sizei-1e1:pi70000e4:reqqi-5ee".into(),
        format!("d1:v{}:{}e", 900_000, "v".repeat(900_000)),
    ];
    let variants = bodies.map(|body| extended(0, body.as_bytes()));
    each(ground, |ground| ground.greeted(EXTENDED), numbered(variants), no_block)
}

pub(super) fn metadata_out_of_range(ground: &Ground<'_>) -> Verdict {
    let hello = extended(0, b"d1:md11:ut_metadatai3eee");
    let pieces = ["1000000", "2147483647", "4294967296", "-1", "99999999999999999999"];
    let mut variants: Vec<Vec<u8>> = pieces
        .iter()
        .map(|piece| ask(&hello, &format!("d8:msg_typei0e5:piecei{piece}ee")))
        .collect();
    variants.push(ask(&hello, "d8:msg_typei0ee"));
    variants.push(ask(&hello, "d8:msg_typei1e5:piecei0e10:total_sizei1eex"));
    variants.push(ask(&hello, "x"));
    each(ground, |ground| ground.greeted(EXTENDED), numbered(variants), no_metadata)
}

/// The same request under each id that targets commonly give: theirs is read by nobody here.
fn ask(hello: &[u8], body: &str) -> Vec<u8> {
    let asks = (1..=4).flat_map(|id| extended(id, body.as_bytes()));
    hello.iter().copied().chain(asks).collect()
}

/// Our id of ut_metadata, with data in it.
fn no_metadata(frame: &Frame) -> Option<&'static str> {
    let is_data = frame.kind == EXTENDED_ID
        && frame.body.first() == Some(&3)
        && frame.body.windows(12).any(|window| window == b"8:msg_typei1");
    if is_data { Some("metadata was sent that does not exist") } else { no_block(frame) }
}
