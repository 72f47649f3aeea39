//! What taking an announce in costs, without the network, in the forms in which those that came together
//! can be answered: nanoseconds each in 100,000 torrents with 1,000,000 IPv4 peers, spread by Zipf's law.
//!
//!     cargo run --release -p ringseed-tracker --example announce_forms

#[path = "../../bench/src/zipf.rs"]
mod zipf;

use std::net::IpAddr;

use ringseed_meta::{InfoHash, Instant, PeerId};
use ringseed_tracker::limits::DATAGRAMS_TOGETHER;
use ringseed_tracker::random::Random;
use ringseed_tracker::swarm::{Bounds, Hint, Swarms};
use ringseed_wire::tracker::AnnounceRequest;
use zipf::Zipf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TORRENTS: u32 = 100_000;
const PEERS: u32 = 1_000_000;
/// Announces that are measured in each form, and how often in turn.
const ANNOUNCES: usize = 1 << 20;
const ROUNDS: usize = 5;

/// How a batch is answered.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// As they came.
    OneByOne,
    /// All torrents are looked up first.
    LookedUp,
    /// And their lines of memory asked for.
    Prefetched,
    /// And those of their peers.
    PeersToo,
}

/// Which peer of which torrent announces again.
#[derive(Clone, Copy)]
struct Asker {
    number: u32,
    torrent: u32,
}

impl Asker {
    fn ip(self) -> IpAddr {
        IpAddr::from(self.number.wrapping_mul(0x9e37_79b9).to_be_bytes())
    }

    fn request(self) -> AnnounceRequest {
        let mut info_hash = InfoHash([9; 20]);
        info_hash.0[..4].copy_from_slice(&self.torrent.to_be_bytes());
        let mut peer_id = PeerId(*b"-RS0001-000000000000");
        peer_id.0[8..12].copy_from_slice(&self.number.to_be_bytes());
        AnnounceRequest {
            key: Some(self.number + 1),
            left: u64::from(self.number % 4),
            numwant: Some(50),
            ..AnnounceRequest::new(info_hash, peer_id, 6881)
        }
    }
}

fn main() {
    let mut swarms = Swarms::new(Bounds::default(), &[7; 16], Random::new(1));
    let (zipf, mut random) = (Zipf::new(TORRENTS), Random::new(2));
    let askers: Vec<Asker> =
        (0..PEERS).map(|number| Asker { number, torrent: zipf.draw(|| random.bits()) }).collect();
    let mut packed = Vec::new();
    for asker in &askers {
        let request = AnnounceRequest { numwant: Some(0), ..asker.request() };
        swarms.announce_packed(Instant::ZERO, asker.ip(), &request, Hint::default(), &mut packed);
    }
    println!("{} torrents, {} peers", swarms.torrents(), swarms.peers());
    for round in 0..ROUNDS {
        for form in [Form::OneByOne, Form::LookedUp, Form::Prefetched, Form::PeersToo] {
            let mut took = std::time::Duration::ZERO;
            let mut bytes = 0;
            for _ in 0..ANNOUNCES / DATAGRAMS_TOGETHER {
                // Those of a batch are made before, as they would come from the network.
                let batch: Vec<(IpAddr, AnnounceRequest)> = (0..DATAGRAMS_TOGETHER)
                    .map(|_| askers[random.below(askers.len())])
                    .map(|asker| (asker.ip(), asker.request()))
                    .collect();
                took += timed(|| bytes += answer(&mut swarms, &batch, form, &mut packed));
            }
            let each = took.as_nanos() / ANNOUNCES as u128;
            println!("{round} {form:?}: {each} ns, {} bytes of peers each", bytes / ANNOUNCES);
        }
    }
}

/// Answers a batch; how many bytes of peers were told.
fn answer(
    swarms: &mut Swarms,
    batch: &[(IpAddr, AnnounceRequest)],
    form: Form,
    packed: &mut Vec<u8>,
) -> usize {
    let mut hints = [Hint::default(); DATAGRAMS_TOGETHER];
    if !matches!(form, Form::OneByOne) {
        for (hint, (ip, request)) in hints.iter_mut().zip(batch) {
            *hint = swarms.look_up(*ip, &request.info_hash);
            if !matches!(form, Form::LookedUp) {
                swarms.prefetch(*ip, *hint);
            }
        }
    }
    if let Form::PeersToo = form {
        for (hint, (ip, _)) in hints.iter().zip(batch) {
            swarms.prefetch_peers(*ip, *hint);
        }
    }
    let mut bytes = 0;
    for (hint, (ip, request)) in hints.iter().zip(batch) {
        packed.clear();
        swarms.announce_packed(Instant::ZERO, *ip, request, *hint, packed);
        bytes += packed.len();
    }
    bytes
}

#[allow(clippy::disallowed_methods, reason = "time is what is measured")]
fn timed(call: impl FnOnce()) -> std::time::Duration {
    let start = std::time::Instant::now();
    call();
    start.elapsed()
}
