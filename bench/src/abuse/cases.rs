//! The catalogue: what each hostile peer does. A case leaves its connections open, so that a
//! healthy peer can be served beside them.

mod extended;
mod floods;
mod frames;
mod opening;
mod requests;
mod teardown;

use std::collections::BTreeMap;

use super::ground::Ground;
use super::limits::LISTENED;
use super::peer::{Frame, PIECE, Peer};

/// What came of a case, so far.
pub(super) struct Stand {
    /// What the target did, in words.
    pub(super) saw: String,
    /// Connections that stay.
    pub(super) held: Vec<Peer>,
}

/// Or what the target must not do.
pub(super) type Verdict = Result<Stand, String>;

/// A hostile peer.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What it does, in a line.
    pub(super) what: &'static str,
    /// It takes many seconds, and has a thread of its own.
    pub(super) is_slow: bool,
    pub(super) run: fn(&Ground<'_>) -> Verdict,
}

const fn case(name: &'static str, what: &'static str, run: fn(&Ground<'_>) -> Verdict) -> Case {
    Case { name, what, is_slow: false, run }
}

const fn slow(name: &'static str, what: &'static str, run: fn(&Ground<'_>) -> Verdict) -> Case {
    Case { name, what, is_slow: true, run }
}

/// All of them.
pub(super) const CASES: &[Case] = &[
    case(
        "wrong-infohash",
        "a handshake for a torrent that does not exist",
        opening::wrong_infohash,
    ),
    case(
        "wrong-protocol",
        "another protocol string, another length of it, HTTP",
        opening::wrong_protocol,
    ),
    case("noise", "noise instead of a handshake, and behind one", opening::noise),
    case(
        "bitfield-wrong",
        "bitfields of a wrong length, with spare bits set, and nonsense behind",
        frames::bitfield_wrong,
    ),
    case(
        "bitfield-late",
        "a bitfield after other messages, and two of them",
        frames::bitfield_late,
    ),
    case(
        "have-out-of-range",
        "have of pieces that the torrent does not have",
        frames::have_out_of_range,
    ),
    case("frame-too-long", "frames of 64 MiB to 4 GiB by their length", frames::too_long),
    case(
        "frame-wrong-length",
        "messages of another length than their kind has",
        frames::wrong_length,
    ),
    case("unknown-messages", "message ids that no BEP has", frames::unknown),
    case("fast-unasked", "messages of BEP 6 without its bit", frames::fast_unasked),
    case("unasked-piece", "a block that the target never asked for", frames::unasked_piece),
    case("port-zero", "a DHT port (BEP 5) of 0, and ports without the bit", frames::port_zero),
    case("requests-choked", "requests before interested, and with it", requests::choked),
    case(
        "requests-out-of-range",
        "requests of no piece, and past the end of one",
        requests::out_of_range,
    ),
    case("requests-empty", "requests of 0 bytes", requests::empty),
    case("requests-too-long", "requests of more than a piece, up to 4 GiB", requests::too_long),
    case("requests-overlapping", "requests that overlap, at odd places", requests::overlapping),
    case("requests-twice", "one block a hundred times", requests::twice),
    case("hash-requests", "hash requests (BEP 52) of trees that do not exist", requests::hashes),
    case(
        "extended-bomb",
        "extended handshakes of a megabyte, nested 100,000 deep, with lengths that lie",
        extended::bomb,
    ),
    case(
        "metadata-out-of-range",
        "metadata (BEP 9) of pieces that do not exist",
        extended::metadata_out_of_range,
    ),
    case("request-flood", "100,000 requests at once, and nothing is read", floods::requests),
    case("cancel-flood", "100,000 cancels of what was not asked for", floods::cancels),
    case("keep-alive-flood", "100,000 keep-alives", floods::keep_alives),
    case("never-reads", "20 peers that ask for megabytes and never read", floods::never_reads),
    case("crowd", "200 peers from one address", floods::crowd),
    case("silent-crowd", "200 connections that never say a word", floods::silent_crowd),
    case(
        "torn-down",
        "connections closed by FIN, RST and half in every state",
        teardown::in_every_state,
    ),
    slow("drip-handshake", "a handshake of one byte a second", opening::drip),
    slow("drip-message", "a request of one byte a second", frames::drip),
];

/// What an answer must not be, if it is that.
type Forbidden = fn(&Frame) -> Option<&'static str>;

/// No block: none was validly asked for.
fn no_block(frame: &Frame) -> Option<&'static str> {
    (frame.kind == PIECE).then_some("it was answered with a block")
}

/// Each of `variants` on a connection of its own, which `arrive` makes. All at the same time: a
/// target that unchokes in rounds takes them in with one round, and each is heard from its own begin.
fn each(
    ground: &Ground<'_>,
    arrive: impl Fn(&Ground<'_>) -> Result<Peer, String> + Sync,
    variants: Vec<(String, Vec<u8>)>,
    forbidden: Forbidden,
) -> Verdict {
    let mut told = Told::default();
    let mut held = Vec::new();
    let heard = side_by_side(variants, |(name, bytes): (String, Vec<u8>)| {
        let mut peer = arrive(ground)?;
        let start = ground.clock.now();
        peer.say(&bytes);
        let heard = peer.hear(ground.after(LISTENED));
        Ok::<_, String>((name, start, peer, heard))
    });
    for variant in heard {
        let (name, start, peer, heard) = variant?;
        if let Some(why) = heard.frames.iter().find_map(forbidden) {
            return Err(format!("{name}: {why}"));
        }
        let took = heard.end.is_over().then(|| heard.at.since(start).as_millis() as u64);
        told.add(heard.words(), took);
        held.push(peer);
    }
    Ok(Stand { saw: told.words(), held })
}

/// Does something with each at the same time, so that none is heard late.
fn side_by_side<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        // Nothing here panics; if it did, its peer would not be told of.
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// What targets did, the same together.
#[derive(Default)]
struct Told(BTreeMap<String, (u32, Option<u64>)>);

impl Told {
    /// `took`: milliseconds until the end, where there was one.
    fn add(&mut self, what: String, took: Option<u64>) {
        let (times, longest) = self.0.entry(what).or_default();
        *times += 1;
        *longest = (*longest).max(took);
    }

    fn words(&self) -> String {
        let total: u32 = self.0.values().map(|(times, _)| times).sum();
        let word = |(what, (times, longest)): (&String, &(u32, Option<u64>))| {
            let within = longest.map_or(String::new(), |ms| format!(" within {ms} ms"));
            match *times == total {
                true => format!("{what}{within}"),
                false => format!("{what}{within} ({times} of {total})"),
            }
        };
        self.0.iter().map(word).collect::<Vec<_>>().join("; ")
    }
}

/// Variants that are told by number.
fn numbered(variants: impl IntoIterator<Item = Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    variants
        .into_iter()
        .zip(1..)
        .map(|(bytes, number)| (format!("variant {number}"), bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_fit_a_flag() {
        let mut names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn what_was_done_alike_is_told_together() {
        let mut told = Told::default();
        told.add("closed".into(), Some(3));
        told.add("closed".into(), Some(12));
        assert_eq!(told.words(), "closed within 12 ms");
        told.add("ignored, kept open".into(), None);
        assert_eq!(told.words(), "closed within 12 ms (2 of 3); ignored, kept open (1 of 3)");
    }
}
