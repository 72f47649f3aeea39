//! The clauses. Each gets a kernel of its own and leaves no op unfinished.

pub(super) use super::moves::*;
pub(super) use super::order::*;
use super::*;
use crate::{Batch, Part, Residency, Run, Verb};

const PAGE: usize = crate::limits::PAGE_BYTES;

fn content(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Sends the batch to its end while the peer reads. What arrived, and the sends it took.
fn send<M: Machine>(
    driver: &mut Driver<M>,
    socket: Socket,
    peer: &mut M::Peer,
    mut batch: Box<Batch>,
    verb: Verb,
) -> (Vec<u8>, usize) {
    let (total, mut got, mut sends) = (batch.len() as usize, Vec::new(), 0);
    while !batch.is_empty() {
        let before = batch.len();
        driver.push(Op::Send { socket, batch, verb });
        sends += 1;
        let sent = driver.next();
        let Outcome::Sent { bytes, batch: rest } = sent.outcome else { panic!("{sent:?}") };
        assert_eq!(before, u64::from(bytes) + rest.len(), "the cursor went over what was sent");
        batch = rest;
        if !batch.is_empty() {
            driver.push(Op::PollWritable { socket });
            let writable = loop {
                peer.read(10_000, &mut got);
                driver.kernel().enter(Wait::AtMost(Duration::from_millis(1))).unwrap();
                if let Some(completion) = driver.take() {
                    break completion;
                }
            };
            assert!(matches!(writable.outcome, Outcome::Done), "{writable:?}");
        }
    }
    driver.kernel().recycle(batch);
    driver.until(|_| {
        peer.read(1 << 16, &mut got);
        got.len() >= total
    });
    (got, sends)
}

pub(super) fn a_connection_carries_bytes_both_ways<M: Machine>(driver: &mut Driver<M>) {
    let (socket, mut peer) = driver.connection();
    let (receive, _) = driver.push(Op::Receive { socket });
    assert_eq!(peer.write(b"a request"), 9);
    let received = driver.next();
    assert!(received.more && received.token == receive, "{received:?}");
    let Outcome::Received { buffer } = received.outcome else { panic!("{received:?}") };
    assert_eq!(&*buffer, b"a request");
    drop(buffer);
    for verb in [Verb::Splice, Verb::Copy] {
        let mut batch = driver.kernel().batch();
        batch.push_bytes(b"an answer");
        assert_eq!(send(driver, socket, &mut peer, batch, verb).0, b"an answer");
    }
    peer.close();
    let end = driver.next();
    assert!(matches!(end.outcome, Outcome::EndOfStream) && !end.more, "{end:?}");
    assert!(driver.close(socket, false).is_empty());
}

pub(super) fn closing_ends_the_ops_first_and_the_peer_sees_the_end<M: Machine>(
    driver: &mut Driver<M>,
) {
    let (socket, mut peer) = driver.connection();
    driver.push(Op::Receive { socket });
    driver.push(Op::PollReadable { socket });
    driver.kernel().enter(Wait::No).unwrap();
    let ended = driver.close(socket, false);
    assert_eq!(ended.len(), 2, "{ended:?}");
    assert!(ended.iter().all(|end| is_cancelled(&end.outcome) && !end.more), "{ended:?}");
    driver.until(|_| peer.end() == Some(End::Finished));
}

pub(super) fn closing_by_reset_is_seen_as_one<M: Machine>(driver: &mut Driver<M>) {
    let (socket, mut peer) = driver.connection();
    driver.push(Op::Receive { socket });
    driver.kernel().enter(Wait::No).unwrap();
    assert_eq!(driver.close(socket, true).len(), 1);
    driver.until(|_| peer.end() == Some(End::Reset));
}

pub(super) fn a_receive_can_be_cancelled_and_started_again<M: Machine>(driver: &mut Driver<M>) {
    let (socket, mut peer) = driver.connection();
    let (_, first) = driver.push(Op::Receive { socket });
    driver.kernel().enter(Wait::No).unwrap();
    driver.push(Op::Cancel { op: first });
    let cancelled = driver.next();
    assert!(cancelled.op == first && is_cancelled(&cancelled.outcome), "{cancelled:?}");
    // Its id is stale now: cancelling it again ends nothing.
    let (second, _) = driver.push(Op::Receive { socket });
    driver.push(Op::Cancel { op: first });
    peer.write(b"later");
    let received = driver.next();
    assert_eq!(received.token, second);
    assert!(matches!(received.outcome, Outcome::Received { .. }), "{received:?}");
    drop(received);
    assert_eq!(driver.close(socket, false).len(), 1);
}

pub(super) fn receives_starved_of_buffers_go_on_when_some_came_home<M: Machine>(
    driver: &mut Driver<M>,
) {
    let (socket, mut peer) = driver.connection();
    driver.push(Op::Receive { socket });
    let sent = content(4 * usize::from(BUFFERS) * BUFFER_BYTES);
    let (mut written, mut got) = (0, Vec::new());
    while got.len() < sent.len() {
        written += peer.write(&sent[written..]);
        // As many as there are stay lent until none is left.
        let mut lent = Vec::new();
        while lent.len() < usize::from(BUFFERS) && got.len() < sent.len() {
            let received = driver.next();
            assert!(received.more, "{received:?}");
            let Outcome::Received { buffer } = received.outcome else { panic!("{received:?}") };
            got.extend_from_slice(&buffer);
            lent.push(buffer);
        }
        if got.len() < sent.len() {
            // With no buffer left nothing comes, and nothing fails.
            driver.kernel().enter(Wait::AtMost(Duration::from_millis(5))).unwrap();
            assert!(driver.take().is_none());
        }
    }
    assert!(got == sent, "the bytes differ");
    let counters = driver.kernel().counters();
    assert!(counters.buffers_short > 0, "{counters:?}");
    assert_eq!(counters.bytes_received, got.len() as u64);
    assert_eq!(driver.close(socket, false).len(), 1);
}

pub(super) fn a_full_socket_gives_the_batch_back_with_its_cursor<M: Machine>(
    driver: &mut Driver<M>,
) {
    let bytes = content(1 << 20);
    driver.machine.add_file("data", &bytes);
    let (file, _) = driver.open("data").unwrap();
    for verb in [Verb::Splice, Verb::Copy] {
        let (socket, mut peer) = driver.connection();
        let mut batch = driver.kernel().batch();
        let mut wanted = Vec::new();
        // More than sockets hold: the peer must read for the rest to go.
        for turn in 0..12u8 {
            batch.push_bytes(&[turn; 13]);
            batch.push_run(Run { file, offset: u64::from(turn), length: (1 << 20) - 16 });
            wanted.extend_from_slice(&[turn; 13]);
            wanted.extend_from_slice(&bytes[usize::from(turn)..][..(1 << 20) - 16]);
        }
        let before = driver.kernel().counters();
        let (got, sends) = send(driver, socket, &mut peer, batch, verb);
        assert!(sends > 1, "{verb:?}: the socket was never full");
        let after = driver.kernel().counters();
        assert_eq!(after.batches - before.batches, sends as u64);
        assert_eq!(after.partial_sends - before.partial_sends, sends as u64 - 1);
        let by_verb = match verb {
            Verb::Splice => after.bytes_spliced - before.bytes_spliced,
            Verb::Copy => after.bytes_copied - before.bytes_copied,
        };
        let in_all = after.bytes_sent - before.bytes_sent;
        assert_eq!((by_verb, in_all), (got.len() as u64, got.len() as u64), "{verb:?}");
        assert!(after.enters > before.enters && after.completions > before.completions);
        assert!(got == wanted, "{verb:?}: the bytes differ");
        driver.close(socket, false);
    }
    driver.push(Op::CloseFile { file });
    assert!(matches!(driver.next().outcome, Outcome::Done));
}

pub(super) fn tcp_holds_at_least_what_is_unacknowledged<M: Machine>(driver: &mut Driver<M>) {
    let told_of_nothing = driver.machine.tcp_bytes_told_of_nothing();
    let more_than_fits = content(16 << 20);
    let mut full = Vec::new();
    let mut held = 0;
    // More than may be told though nobody holds it: what is told must have been looked at.
    while held <= told_of_nothing {
        assert!(full.len() < 1_000, "{held} bytes are unacknowledged of {} sockets", full.len());
        let (socket, peer) = driver.connection();
        let mut batch = driver.kernel().batch();
        batch.push_bytes(&more_than_fits);
        driver.push(Op::Send { socket, batch, verb: Verb::Copy });
        let sent = driver.next();
        let Outcome::Sent { bytes, batch } = sent.outcome else { panic!("{sent:?}") };
        assert!(bytes > 0);
        driver.kernel().recycle(batch);
        full.push((socket, peer));
        let kernel = driver.kernel();
        held = full.iter().map(|full| u64::from(kernel.unacknowledged_bytes(full.0))).sum();
    }
    let all = driver.kernel().tcp_bytes().expect("here it is told");
    assert!(all >= held, "{held} bytes are unacknowledged, TCP holds {all}");
    for (socket, peer) in full {
        driver.close(socket, true);
        peer.close();
    }
}

pub(super) fn a_batch_of_every_kind_of_part_arrives_byte_for_byte<M: Machine>(
    driver: &mut Driver<M>,
) {
    let bytes = content(300_000);
    driver.machine.add_file("data", &bytes);
    let (file, _) = driver.open("data").unwrap();
    let (socket, mut peer) = driver.connection();
    for verb in [Verb::Splice, Verb::Copy] {
        let mut batch = driver.kernel().batch();
        batch.push_bytes(&content(9_000));
        batch.push_run(Run { file, offset: 4_095, length: 16_384 });
        batch.push_zeros(5_000);
        batch.push_run(Run { file, offset: 0, length: 1 });
        batch.push_bytes(b"thirteen byte");
        batch.push_run(Run { file, offset: 299_999, length: 1 });
        batch.push_run(Run { file, offset: 100_001, length: 131_072 });
        let mut wanted = Vec::new();
        for part in batch.remaining() {
            match part {
                Part::Bytes { start, length } => wanted.extend(batch.bytes_of(start, length)),
                Part::Zeros(length) => wanted.resize(wanted.len() + length as usize, 0),
                Part::Run(run) => {
                    wanted.extend(&bytes[run.offset as usize..][..run.length as usize]);
                }
            }
        }
        assert!(send(driver, socket, &mut peer, batch, verb).0 == wanted, "{verb:?}");
    }
    driver.close(socket, false);
    driver.push(Op::CloseFile { file });
    assert!(matches!(driver.next().outcome, Outcome::Done));
}

pub(super) fn a_run_past_the_end_fails_the_batch<M: Machine>(driver: &mut Driver<M>) {
    driver.machine.add_file("data", &content(50_000));
    let (file, _) = driver.open("data").unwrap();
    driver.machine.truncate("data", 40_000);
    for verb in [Verb::Splice, Verb::Copy] {
        let (socket, _peer) = driver.connection();
        let mut batch = driver.kernel().batch();
        batch.push_run(Run { file, offset: 32_768, length: 16_384 });
        driver.push(Op::Send { socket, batch, verb });
        let failed = driver.next();
        let is_cut = matches!(failed.outcome, Outcome::Failed(Failure::Run { errno: 0, .. }));
        assert!(is_cut, "{verb:?}: {failed:?}");
        driver.close(socket, true);
    }
    assert_eq!(driver.kernel().stat(file).unwrap().size, 40_000);
    driver.push(Op::CloseFile { file });
    assert!(matches!(driver.next().outcome, Outcome::Done));
}

pub(super) fn files_are_opened_below_their_root_only<M: Machine>(driver: &mut Driver<M>) {
    driver.machine.add_file("data", b"bytes");
    assert_eq!(driver.open("absent").unwrap_err(), Failure::Os(libc::ENOENT));
    assert!(driver.open("../data").is_err(), "a path left its root");
    assert!(driver.open("/etc/passwd").is_err(), "an absolute path left its root");
    let (file, stat) = driver.open("data").unwrap();
    assert_eq!(stat.size, 5);
    assert_eq!(driver.kernel().stat(file).unwrap(), stat);
    driver.push(Op::Stat { file });
    let looked = driver.next();
    assert!(matches!(looked.outcome, Outcome::Looked { stat: is } if is == stat), "{looked:?}");
    driver.push(Op::CloseFile { file });
    assert!(matches!(driver.next().outcome, Outcome::Done));
}

pub(super) fn reads_tell_where_a_file_ends<M: Machine>(driver: &mut Driver<M>) {
    let size = 3 * PAGE + 5;
    driver.machine.add_file("data", &content(size));
    driver.machine.evict("data");
    let (file, _) = driver.open("data").unwrap();
    for (offset, wanted) in [(0, 1), (size as u64 - 1, 1), (size as u64, 0), (1 << 40, 0)] {
        driver.push(Op::ReadByte { file, offset });
        let read = driver.next();
        assert!(matches!(read.outcome, Outcome::Read { bytes } if bytes == wanted), "{read:?}");
    }
    let whole = Run { file, offset: 0, length: size as u32 };
    let beyond = Run { file, offset: PAGE as u64, length: 4 * PAGE as u32 };
    for (run, wanted) in [(whole, size), (beyond, size - PAGE)] {
        driver.push(Op::ReadDiscard { run });
        let read = driver.next();
        let is_right = matches!(read.outcome, Outcome::Read { bytes } if bytes as usize == wanted);
        assert!(is_right, "{run:?}: {read:?}");
    }
    driver.push(Op::CloseFile { file });
    assert!(matches!(driver.next().outcome, Outcome::Done));
}

pub(super) fn pages_asked_for_become_resident<M: Machine>(driver: &mut Driver<M>) {
    let size = 100 * PAGE;
    driver.machine.add_file("data", &content(size));
    let (file, _) = driver.open("data").unwrap();
    let run = Run { file, offset: 10 * PAGE as u64 + 1, length: 80 * PAGE as u32 };
    for aside in [false, true] {
        driver.machine.evict("data");
        assert_eq!(driver.kernel().residency(run), Residency::Missing);
        driver.push(Op::ReadAhead { run, aside });
        assert!(matches!(driver.next().outcome, Outcome::Asked { .. }));
        for page in 10..91 {
            driver.push(Op::ReadByte { file, offset: (page * PAGE) as u64 });
            assert!(matches!(driver.next().outcome, Outcome::Read { bytes: 1 }));
        }
        assert_eq!(driver.kernel().residency(run), Residency::Resident);
        let before = Run { file, offset: 0, length: 5 * PAGE as u32 };
        assert_eq!(driver.kernel().residency(before), Residency::Missing, "not asked for");
    }
    driver.push(Op::CloseFile { file });
    assert!(matches!(driver.next().outcome, Outcome::Done));
}

pub(super) fn what_is_missing_of_a_run_is_told_by_its_ends<M: Machine>(driver: &mut Driver<M>) {
    let page = PAGE as u64;
    driver.machine.add_file("data", &content(100 * PAGE));
    let (file, _) = driver.open("data").unwrap();
    driver.machine.evict("data");
    let run = Run { file, offset: 10 * page + 1, length: 80 * PAGE as u32 };
    let (mut ends, run_end) = (Vec::new(), 90 * page + 1);
    assert_eq!(driver.kernel().missing(run, &mut ends), Residency::Missing);
    assert_eq!(ends, [run_end - 1], "all is one stretch");
    let read = |driver: &mut Driver<M>, pages: std::ops::Range<u64>| {
        for number in pages {
            driver.push(Op::ReadByte { file, offset: number * page });
            assert!(matches!(driver.next().outcome, Outcome::Read { bytes: 1 }));
        }
    };
    read(driver, 50..51);
    ends.clear();
    assert_eq!(driver.kernel().missing(run, &mut ends), Residency::Missing);
    assert_eq!(ends, [50 * page - 1, run_end - 1]);
    read(driver, 10..91);
    ends.clear();
    assert_eq!(driver.kernel().missing(run, &mut ends), Residency::Resident);
    assert_eq!(ends, []);
    driver.push(Op::CloseFile { file });
    assert!(matches!(driver.next().outcome, Outcome::Done));
}

pub(super) fn a_connection_is_made_or_refused<M: Machine>(driver: &mut Driver<M>) {
    let to = driver.machine.nobody();
    driver.push(Op::Connect { to, from: None });
    let refused = driver.next();
    let is_refused = matches!(refused.outcome, Outcome::Failed(Failure::Os(libc::ECONNREFUSED)));
    assert!(is_refused, "{refused:?}");
}

pub(super) fn a_poll_for_bytes_waits_for_them<M: Machine>(driver: &mut Driver<M>) {
    let (socket, mut peer) = driver.connection();
    driver.push(Op::PollWritable { socket });
    assert!(matches!(driver.next().outcome, Outcome::Done), "an idle socket takes bytes");
    driver.push(Op::PollReadable { socket });
    driver.kernel().enter(Wait::AtMost(Duration::from_millis(1))).unwrap();
    assert!(driver.take().is_none(), "readable before anything was written");
    peer.write(b"x");
    assert!(matches!(driver.next().outcome, Outcome::Done));
    driver.close(socket, true);
}

pub(super) fn a_ring_of_the_waker_ends_the_wait_once<M: Machine>(driver: &mut Driver<M>) {
    let waker = driver.kernel().waker();
    for _ in 0..2 {
        waker.wake();
        waker.wake();
        let woken = driver.next();
        assert!(matches!(woken.outcome, Outcome::Woken), "{woken:?}");
        assert_eq!(woken.token, Token::WAKE);
        driver.kernel().enter(Wait::AtMost(Duration::from_millis(1))).unwrap();
        assert!(driver.take().is_none(), "two rings before the look are one wake-up");
    }
}

pub(super) fn a_peer_that_resets_is_seen_by_receive_and_send<M: Machine>(driver: &mut Driver<M>) {
    let (socket, peer) = driver.connection();
    driver.push(Op::Receive { socket });
    driver.kernel().enter(Wait::No).unwrap();
    peer.reset();
    let lost = driver.next();
    let is_reset = matches!(lost.outcome, Outcome::Failed(Failure::Os(libc::ECONNRESET)));
    assert!(is_reset && !lost.more, "{lost:?}");
    let mut batch = driver.kernel().batch();
    batch.push_bytes(b"too late");
    driver.push(Op::Send { socket, batch, verb: Verb::Splice });
    let lost = driver.next();
    let is_lost =
        matches!(lost.outcome, Outcome::Failed(Failure::Os(libc::EPIPE | libc::ECONNRESET)));
    assert!(is_lost, "{lost:?}");
    assert!(driver.close(socket, false).is_empty());
}
