//! Memory that the swarms take for an IPv4 peer: bytes asked of the allocator, and what has become
//! resident in the program's own allocator since the first peer announced, which counts what tables that
//! were outgrown have left behind. Each case runs in a process of its own.
//!
//!     cargo run --release -p ringseed-tracker --example bytes_a_peer

#[path = "../../bench/src/zipf.rs"]
mod zipf;

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, bail};
use ringseed_meta::{InfoHash, Instant, PeerId};
use ringseed_tracker::random::Random;
use ringseed_tracker::swarm::{Bounds, Swarms};
use ringseed_wire::tracker::AnnounceRequest;
use zipf::Zipf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Peers of all torrents in each case.
const PEERS: u32 = 1 << 22;
/// The same where they are spread by Zipf's law.
const ZIPF_PEERS: u32 = 1_000_000;

/// Peers of each torrent. 0: by Zipf's law, the first of 100,000 torrents has a twelfth of all.
const CASES: [u32; 12] = [1, 2, 4, 16, 40, 100, 1000, 2000, 5000, 10_000, 60_000, 0];

fn main() -> anyhow::Result<()> {
    if let Some(each) = std::env::args().nth(1) {
        return measure(each.parse()?);
    }
    println!(
        "{:>18} {:>18} {:>18} {:>12}",
        "peers of a torrent", "bytes a peer", "resident", "peers"
    );
    let itself = std::env::current_exe()?;
    for each in CASES {
        if !Command::new(&itself).arg(each.to_string()).status()?.success() {
            bail!("the case of {each} peers failed");
        }
    }
    Ok(())
}

fn measure(each: u32) -> anyhow::Result<()> {
    let peers = if each == 0 { ZIPF_PEERS } else { PEERS };
    let most = peers as usize;
    let bounds = Bounds { torrents_max: most, peers_max: most, ..Bounds::default() };
    let mut swarms = Swarms::new(bounds, &[7; 16], Random::new(1));
    let (mut told, mut random) = (Vec::with_capacity(200), Random::new(2));
    let zipf = Zipf::new(100_000);
    let before = resident_bytes()?;
    for number in 0..peers {
        // One after the other, as peers come: each torrent grows among the others.
        let torrent = match each {
            0 => zipf.draw(|| random.bits()),
            each => number % (peers / each).max(1),
        };
        let mut info_hash = InfoHash([9; 20]);
        info_hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
        let mut peer_id = PeerId(*b"-RS0001-000000000000");
        peer_id.0[8..12].copy_from_slice(&number.to_be_bytes());
        let request = AnnounceRequest {
            key: Some(number + 1),
            left: u64::from(number % 4),
            numwant: Some(0),
            ..AnnounceRequest::new(info_hash, peer_id, 6881)
        };
        let from = IpAddr::from(number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        swarms.announce(Instant::from_us(0), from, &request, &mut told);
    }
    let bytes = resident_bytes()?.saturating_sub(before);
    let each = if each == 0 { "Zipf".to_owned() } else { each.to_string() };
    let peers = swarms.peers();
    let [asked, resident] = [swarms.bytes(), bytes].map(|bytes| bytes as f64 / peers as f64);
    println!("{each:>18} {asked:>18.1} {resident:>18.1} {peers:>12}");
    Ok(())
}

/// Pages in memory, times their size.
fn resident_bytes() -> anyhow::Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("cannot read /proc")?;
    let pages: usize = statm.split(' ').nth(1).context("no second number in statm")?.parse()?;
    Ok(pages * 4096)
}
