//! What is settled before anything runs: cores, descriptors, listeners, what workers are started
//! with.

use ringseed_meta::PeerId;
use ringseed_ring::{KernelChoice, KernelOptions, system};

use super::fleet::FleetOptions;
use super::listen::Listeners;
use super::{Event, Options, ServiceError, limits, memory};
use crate::store::files::limits::OPEN_FILES_MAX;
use crate::store::hashing::Reads;

/// Descriptors beside those of connections and of each worker's data files: rings, pipes, trackers,
/// data folders.
const SPARE_DESCRIPTORS: u64 = 2048;

pub(super) fn choose_cores(wanted: Option<usize>) -> Result<Vec<usize>, ServiceError> {
    let what = "cannot ask which cores this process may run on";
    let allowed = system::affinity().map_err(|source| ServiceError::System { what, source })?;
    match wanted {
        None => Ok(allowed),
        Some(count) if (1..=allowed.len()).contains(&count) => Ok(allowed[..count].to_vec()),
        Some(wanted) => Err(ServiceError::Cores { wanted, allowed: allowed.len() }),
    }
}

/// How data is read to be hashed: whoever asked for epoll wants no ring anywhere.
pub(super) fn reads(kernel: KernelChoice) -> Reads {
    match kernel {
        KernelChoice::Auto | KernelChoice::IoUring => Reads::Ring,
        KernelChoice::Epoll => Reads::Plain,
    }
}

/// Makes room for the connections asked for, or asks for fewer.
pub(super) fn raise_descriptors(
    connections_max: u32,
    workers: usize,
    on_event: &mut dyn FnMut(Event),
) -> Result<u32, ServiceError> {
    let spare = SPARE_DESCRIPTORS + (workers * OPEN_FILES_MAX) as u64;
    let wanted = u64::from(connections_max) + spare;
    let what = "cannot read the limit of open files";
    let limit =
        system::raise_fd_limit(wanted).map_err(|source| ServiceError::System { what, source })?;
    if limit >= wanted {
        return Ok(connections_max);
    }
    let room = limit.saturating_sub(spare.min(limit / 2)).max(1) as u32;
    on_event(Event::Note(format!(
        "the limit of open files is {limit}: at most {room} connections instead of \
         {connections_max}; raise it with ulimit -n or LimitNOFILE="
    )));
    Ok(room)
}

/// Listens on what was asked for; by default on port 6881 of IPv4, and of IPv6 where it exists.
pub(super) fn listen_all(
    options: &Options,
    workers: usize,
    on_event: &mut dyn FnMut(Event),
) -> Result<Vec<Listeners>, ServiceError> {
    let congestion = options.congestion.as_deref();
    if !options.listen.is_empty() {
        let listen = |address| super::listen::listen(address, workers, congestion);
        return Ok(options.listen.iter().copied().map(listen).collect::<Result<_, _>>()?);
    }
    let port = super::limits::LISTEN_PORT;
    let v4 =
        super::listen::listen((std::net::Ipv4Addr::UNSPECIFIED, port).into(), workers, congestion)?;
    match super::listen::listen((std::net::Ipv6Addr::UNSPECIFIED, port).into(), workers, congestion)
    {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) => {
            on_event(Event::Note(format!("no IPv6: {error}")));
            Ok(vec![v4])
        }
    }
}

pub(super) fn fleet_options(
    options: &Options,
    cores: Vec<usize>,
    connections_max: u32,
    peer_id: PeerId,
    torrent_count: usize,
) -> FleetOptions {
    FleetOptions {
        cores,
        peer_id,
        slots: options.slots,
        kernel: options.kernel,
        sizes: KernelOptions {
            zero_copy: options.zero_copy,
            // All connections may come to one worker: each receives, and may wait for its socket.
            ops_max: connections_max.saturating_mul(2).saturating_add(limits::SPARE_OPS),
            ..KernelOptions::default()
        },
        connections_max,
        connections_per_address_max: options.connections_per_address_max,
        unacknowledged_bytes_max: memory::unacknowledged_bytes_max(),
        torrent_count,
    }
}

/// BEP 20: two letters and the version, then random bytes.
pub(super) fn new_peer_id() -> PeerId {
    use std::hash::{BuildHasher, RandomState};
    let mut id = *b"-RS0100-............";
    let (_, tail) = id.split_at_mut(8);
    let random = RandomState::new();
    for (at, byte) in tail.iter_mut().enumerate() {
        *byte = b'a' + (random.hash_one(at) % 26) as u8;
    }
    PeerId(id)
}
