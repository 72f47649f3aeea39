//! What must come out is known beforehand: by arithmetic, or because a byte is wrong.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringseed_meta::merkle::{self, Hash};
use ringseed_meta::metainfo::{Blueprint, Format, Outer, PieceHashes, Root};
use ringseed_meta::{InfoHash, Instant, Metainfo, PeerId};
use ringseed_swarm::frames;
use ringseed_swarm::leecher::{Interest, Leecher, Need};
use ringseed_swarm::observer::Nobody;
use ringseed_swarm::order::{Blocks, Order};
use ringseed_swarm::pace::Pace;
use ringseed_swarm::plan::{Kind, Plan, Rate};
use ringseed_swarm::requests::Requests;
use ringseed_swarm::results::Results;
use ringseed_swarm::run::run;
use ringseed_swarm::tally::{Distinct, Tally};
use ringseed_swarm::target::Pieces;
use sha1::{Digest, Sha1};

use crate::loads::{carry_out, load, phase, plan};
use crate::stub::{self, NAME, QUIET, Stub};

const MS: fn(u64) -> Duration = Duration::from_millis;
/// Half a second in every five.
const STALL: Duration = Duration::from_millis(500);
const PERIOD: Duration = Duration::from_secs(5);

fn open_loop(stub: Stub, connections: u32, rate: f64, length: Duration) -> Histogram<u64> {
    let (target, _) = stub::start(stub);
    let rate = Rate::PerSecond(rate);
    let kind = Kind::Latency { connections, rate, order: Order::Sequential };
    let mut plan = plan(target, vec![phase("p", length, vec![load("l", kind)])]);
    if let Some(seeder) = &mut plan.seeder {
        // Small blocks, so that the seeder is done with those of a stall in no time.
        seeder.pieces = Pieces::even(512, 1_000 * 512).unwrap();
    }
    let results = {
        let _quiet = QUIET.write();
        run(&plan, &mut Nobody).unwrap()
    };
    assert_eq!(results.failures, Vec::<String>::new());
    let load = &results.phases[0].loads[0];
    assert_eq!(load.counts.errors, 0, "{load:?}");
    load.latencies["request_to_piece"].total.clone()
}

/// Milliseconds below which this share of the latencies lies.
fn at(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}

#[test]
fn a_seeder_that_takes_five_milliseconds_takes_five_milliseconds() {
    let latency = open_loop(Stub { delay: MS(5), ..Stub::default() }, 4, 400.0, MS(3_000));
    assert!((1_199..=1_201).contains(&latency.len()), "{}", latency.len());
    // Never less, at no percentile; more by what a busy machine adds.
    assert!(latency.min() >= 5_000, "{} us", latency.min());
    for (quantile, most_ms) in [(0.5, 30.0), (0.9, 100.0), (0.99, 1_000.0)] {
        let ms = at(&latency, quantile);
        assert!((5.0..most_ms).contains(&ms), "p{}: {ms} ms", quantile * 100.0);
    }
}

/// Requests come evenly, so of those that come within a stall of `s` in each period `t`, the share
/// that waits longer than `x` is (s - x) / t, whatever the seeder and its protocol.
fn stalled_ms(quantile: f64) -> f64 {
    (STALL.as_secs_f64() - (1.0 - quantile) * PERIOD.as_secs_f64()) * 1e3
}

#[test]
fn a_seeder_that_stalls_half_a_second_in_five_is_charged_for_the_wait() {
    let stub = Stub { stall: Some((PERIOD, STALL)), ..Stub::default() };
    // More requests fall due in a stall than may be outstanding: those that could not be made are
    // charged as well.
    let latency = open_loop(stub, 1, 600.0, PERIOD * 2);
    assert!((5_999..=6_001).contains(&latency.len()), "{}", latency.len());
    for quantile in [0.93, 0.95, 0.97, 0.99] {
        let (ms, right) = (at(&latency, quantile), stalled_ms(quantile));
        println!("{quantile}: {ms} ms, {right} ms is right");
        // Whoever omits what could not be asked for comes out below; above is what a busy machine adds.
        assert!((right - 20.0..right + 300.0).contains(&ms), "{quantile}: {ms}, not {right} ms");
    }
    assert!(at(&latency, 0.5) < 50.0, "{} ms", at(&latency, 0.5));
}

/// A seeder without sockets, in time that only this test moves.
#[test]
fn in_simulated_time_a_stall_is_charged_to_the_last_microsecond() {
    const STEP_US: u64 = 50;
    let pieces = Pieces::even(1 << 15, 100 << 15).unwrap();
    let blocks = Blocks::new(pieces.clone(), Order::Sequential, 0, 1);
    let requests = Requests::open(blocks, 128);
    let mut leecher = Leecher::new(NAME, pieces.count(), requests, Interest::Told, None);
    let mut tally = Tally::new(Arc::new(Distinct::new(pieces.count())));
    let mut pace = Pace::new(Instant::ZERO, 2_000.0, 0, 1);
    let hello = frames::handshake(NAME, PeerId([1; 20]));
    let greeting = [&hello[..], &[0, 0, 0, 1, 14, 0, 0, 0, 1, 1]].concat();
    leecher.received(&greeting, Instant::ZERO, &mut tally).unwrap();
    let mut asked = Vec::new();
    for step in 0..2 * PERIOD.as_micros() as u64 / STEP_US {
        let now = Instant::from_us(step * STEP_US);
        while let Some((at, _)) = pace.take_due(now) {
            leecher.arrive(at);
        }
        let into_period = Duration::from_micros(now.as_us()).as_micros() % PERIOD.as_micros();
        let is_stalled = into_period < STALL.as_micros();
        loop {
            leecher.ask(now, &mut asked);
            if is_stalled || asked.is_empty() {
                break;
            }
            for request in asked.chunks(frames::REQUEST_BYTES) {
                answer(&mut leecher, request, now, &mut tally);
            }
            asked.clear();
        }
    }
    let latency = &tally.latencies.request_to_piece;
    assert_eq!(latency.len(), 20_000);
    for quantile in [0.91, 0.93, 0.95, 0.97, 0.99, 0.999] {
        let (ms, right) = (at(latency, quantile), stalled_ms(quantile));
        // A step, a place between two requests, and the three digits of the histogram.
        assert!((ms - right).abs() < 0.05 + 0.5 + right / 1e3, "{quantile}: {ms}, not {right} ms");
    }
    assert!(at(latency, 0.89) < 0.1, "{} ms", at(latency, 0.89));
}

fn answer(leecher: &mut Leecher, request: &[u8], now: Instant, tally: &mut Tally) {
    let length = u32::from_be_bytes(request[13..17].try_into().unwrap());
    let mut header = (length + 9).to_be_bytes().to_vec();
    header.push(7);
    header.extend_from_slice(&request[5..13]);
    leecher.received(&header, now, tally).unwrap();
    assert_eq!(leecher.need(), Need::Discard(length as usize));
    leecher.discarded(length, now, tally);
}

const PIECE: u32 = 64 << 10;
/// Not a multiple of a piece, nor of a block.
const TORRENT_BYTES: u32 = (16 << 20) + 12_345;

/// Bytes that differ from piece to piece.
fn content() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = std::iter::repeat_with(next).take(TORRENT_BYTES as usize / 8 + 1);
    let mut bytes: Vec<u8> = words.flatten().collect();
    bytes.truncate(TORRENT_BYTES as usize);
    bytes
}

/// A torrent of one file with these bytes.
fn torrent(format: Format, content: &[u8]) -> Arc<Metainfo> {
    let files = vec![("data".into(), u64::from(TORRENT_BYTES))];
    let blueprint = Blueprint::new(format, Root::Folder, "t", PIECE, files).unwrap();
    let mut hashes = PieceHashes { v1: Vec::new(), v2: Vec::new() };
    for piece in content.chunks(PIECE as usize) {
        if format.has_v1() {
            hashes.v1.push(Sha1::digest(piece).into());
        }
        if format.has_v2() {
            let leaves: Vec<Hash> = piece.chunks(16 << 10).map(merkle::block_hash).collect();
            hashes.v2.push(merkle::piece_hash(&leaves, PIECE, content.len() as u64));
        }
    }
    let bytes = blueprint.write(&hashes, false, None, &Outer::default()).unwrap();
    Arc::new(Metainfo::parse(&bytes).unwrap())
}

fn verify(
    metainfo: &Arc<Metainfo>,
    content: Vec<u8>,
    corrupts: Option<u64>,
    swaps: bool,
    length: Duration,
) -> (Results, Option<u32>) {
    let info_hash: InfoHash = metainfo.swarms().next().unwrap();
    let content = Some((Arc::new(content), PIECE));
    let (target, seen) =
        stub::start(Stub { corrupts, swaps, content, info_hash, ..Stub::default() });
    let kind = Kind::Flood { connections: 4, depth: 8, order: Order::Sequential, verify: true };
    let mut plan: Plan = plan(target, vec![phase("p", length, vec![load("v", kind)])]);
    let seeder = plan.seeder.as_mut().unwrap();
    seeder.info_hash = info_hash;
    seeder.pieces = Pieces::of(metainfo.geometry()).unwrap();
    seeder.metainfo = Some(metainfo.clone());
    let results = carry_out(&plan);
    let corrupted = seen.corrupted.lock().unwrap().map(|(piece, _)| piece);
    (results, corrupted)
}

#[test]
fn one_wrong_block_in_ten_thousand_is_caught_and_named() {
    for (format, swaps) in [(Format::V1, false), (Format::V2, false), (Format::V1, true)] {
        let content = content();
        let metainfo = torrent(format, &content);
        let path = metainfo.geometry().files().next().unwrap().path;
        let (results, corrupted) = verify(&metainfo, content, Some(10_000), swaps, MS(60_000));
        let piece = corrupted.unwrap();
        let offset = u64::from(piece) * u64::from(PIECE);
        let right = format!(
            "piece {piece}, bytes from {offset} of the torrent ('{path}' at byte {offset}), does not \
             have the torrent's hash"
        );
        let told = results.failures.iter().any(|failure| failure.contains(&right));
        assert!(told, "{:?}, not {right}", results.failures);
        let phase = &results.phases[0];
        assert!(phase.loads[0].counts.pieces_verified > 1_000, "what was right before is told");
        assert!(phase.seconds < 60.0);
    }
}

#[test]
fn right_bytes_pass_and_each_piece_is_distinct_once() {
    let cases = [(Format::V1, false), (Format::V2, false), (Format::V1, true), (Format::V2, true)];
    for (format, swaps) in cases {
        let content = content();
        let metainfo = torrent(format, &content);
        let (results, _) = verify(&metainfo, content, None, swaps, MS(1_500));
        assert_eq!(results.failures, Vec::<String>::new());
        let counts = results.phases[0].loads[0].counts;
        assert!(counts.pieces_verified > 0 && counts.pieces_broken_off == 0, "{counts:?}");
        assert!(counts.distinct_bytes <= u64::from(TORRENT_BYTES), "{counts:?}");
        let all_seen = counts.payload_bytes > 6 * u64::from(TORRENT_BYTES);
        assert!(!all_seen || counts.distinct_bytes == u64::from(TORRENT_BYTES), "{counts:?}");
    }
}
