//! Frames of arbitrary bytes, printed as the example `dump` prints them: whole and split in two
//! they read the same, and a split head never gathers more than its limit.
#![no_main]

use std::fmt::Write;

use libfuzzer_sys::fuzz_target;
use ringseed_wire::frame::{Frame, FrameReader};
use ringseed_wire::limits::EXTENDED_HANDSHAKE_BYTES_MAX;
use ringseed_wire::message::FrameLimits;

/// What the parts of a stream read as; bodies, which are cut where the parts are, by their bytes.
fn print(parts: &[&[u8]]) -> String {
    let limits = FrameLimits { bitfield_bytes: None };
    let (mut reader, mut text) = (FrameReader::new(), String::new());
    for part in parts {
        let mut at = 0;
        loop {
            match reader.next(part, &mut at, limits) {
                Ok(Some(Frame::Body { at, range, left })) => {
                    assert!(!range.is_empty() && u64::from(at) + u64::from(left) < 1 << 20);
                    text.extend(part[range].iter().map(|byte| char::from(*byte)));
                }
                Ok(Some(frame)) => writeln!(text, "{frame}").expect("a String grows"),
                Ok(None) => break,
                Err(error) => return format!("{text}{error}"),
            }
        }
        assert_eq!(at, part.len());
        assert!(reader.carried_bytes() <= EXTENDED_HANDSHAKE_BYTES_MAX as usize + 6);
    }
    text
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, stream)) = input.split_first() else { return };
    let (first, second) = stream.split_at(usize::from(*cut).min(stream.len()));
    assert_eq!(print(&[stream]), print(&[first, second]));
});
