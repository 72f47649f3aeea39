//! Batches against real sockets and files, byte for byte.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use super::tests::{accept, next, small};
use super::*;
use crate::limits::PAGE_BYTES;
use crate::{Directory, Part};

/// A file of bytes that tell their place, and its name to the kernel.
pub(super) struct TestFile {
    #[expect(dead_code, reason = "keeps the folder until the test ends")]
    folder: tempfile::TempDir,
    pub(super) path: std::path::PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) file: File,
}

/// Bytes that do not repeat at any power of two.
pub(super) fn content(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ (at >> 12) as u8)
        .collect()
}

pub(super) fn open<E: Engine>(kernel: &mut NativeKernel<E>, length: usize) -> TestFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let bytes = content(length);
    std::fs::write(&path, &bytes).unwrap();
    let root = Directory::new(folder.path().to_owned());
    kernel.push(Op::Open { root, path: Arc::from(Path::new("data")) }, Token(90)).unwrap();
    let opened = next(kernel);
    let Outcome::Opened { file, stat, .. } = opened.outcome else { panic!("{opened:?}") };
    assert_eq!(stat.size, length as u64);
    TestFile { folder, path, bytes, file }
}

/// What a batch says, by the file's bytes.
fn expected(batch: &Batch, file: &TestFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in batch.remaining() {
        match part {
            Part::Bytes { start, length } => bytes.extend_from_slice(batch.bytes_of(start, length)),
            Part::Zeros(length) => bytes.resize(bytes.len() + length as usize, 0),
            Part::Run(run) => {
                let start = run.offset as usize;
                bytes.extend_from_slice(&file.bytes[start..start + run.length as usize]);
            }
        }
    }
    bytes
}

fn run(file: &TestFile, offset: u64, length: u32) -> Run {
    Run { file: file.file, offset, length }
}

/// Sends to the end, with a reader that takes `step` bytes whenever the socket is full.
/// How many sends it took.
fn send_all<E: Engine>(
    kernel: &mut NativeKernel<E>,
    socket: Socket,
    stream: &mut TcpStream,
    batch: Box<Batch>,
    verb: Verb,
    step: usize,
) -> (Vec<u8>, usize) {
    let total = batch.len() as usize;
    let (mut got, mut sends, mut batch) = (Vec::new(), 0, batch);
    let mut buffer = vec![0; step];
    loop {
        kernel.push(Op::Send { socket, batch, verb }, Token(7)).unwrap();
        sends += 1;
        let sent = next(kernel);
        let Outcome::Sent { batch: rest, .. } = sent.outcome else { panic!("{sent:?}") };
        if rest.is_empty() {
            kernel.recycle(rest);
            break;
        }
        batch = rest;
        let bytes = stream.read(&mut buffer).unwrap();
        got.extend_from_slice(&buffer[..bytes]);
    }
    let at = got.len();
    got.resize(total, 0);
    stream.read_exact(&mut got[at..]).unwrap();
    (got, sends)
}

fn mixed_batch<E: Engine>(kernel: &mut NativeKernel<E>, file: &TestFile) -> Box<Batch> {
    let mut batch = kernel.batch();
    for block in 0..40u64 {
        batch.push_bytes(&[block as u8; 13]);
        batch.push_run(run(file, 16_384 * block + block, 16_384));
    }
    batch.push_zeros(20_000);
    batch.push_run(run(file, 5, 1));
    batch.push_run(run(file, 4_095, 4_095));
    batch.push_bytes(&content(10_000));
    batch
}

fn both_verbs_send_the_same_bytes_to_a_slow_reader<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    let file = open(&mut kernel, 1 << 20);
    for verb in [Verb::Splice, Verb::Copy] {
        let batch = mixed_batch(&mut kernel, &file);
        let wanted = expected(&batch, &file);
        let (got, _) = send_all(&mut kernel, socket, &mut stream, batch, verb, 10_007);
        assert!(got == wanted, "{verb:?}: the bytes differ");
    }
    assert!(kernel.counters().bytes_spliced > 0 && kernel.counters().bytes_copied > 0);
}

fn a_resumed_batch_is_written_anew<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    let file = open(&mut kernel, 1 << 20);
    let descriptor = kernel.descriptor(socket).unwrap();
    sys::set_option(descriptor, libc::SOL_SOCKET, libc::SO_SNDBUF, 64 << 10).unwrap();
    for verb in [Verb::Splice, Verb::Copy] {
        let batch = mixed_batch(&mut kernel, &file);
        let wanted = expected(&batch, &file);
        let before = kernel.counters().partial_sends;
        let (got, sends) = send_all(&mut kernel, socket, &mut stream, batch, verb, 3_001);
        assert!(sends > 3, "{verb:?}: only {sends} sends: nothing was resumed");
        assert_eq!(kernel.counters().partial_sends - before, sends as u64 - 1);
        assert!(got == wanted, "{verb:?}: the bytes differ");
    }
}

fn a_batch_larger_than_the_pipe_takes_one_socket_splice_a_pipe_full<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    let file = open(&mut kernel, 3 << 20);
    let mut batch = kernel.batch();
    batch.push_bytes(b"header");
    batch.push_run(run(&file, 1, 3 * (1 << 20) - 1));
    let wanted = expected(&batch, &file);
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; 6 + 3 * (1 << 20) - 1];
        stream.read_exact(&mut got).unwrap();
        got
    });
    let mut sends = 0;
    while !batch.is_empty() {
        kernel.push(Op::Send { socket, batch, verb: Verb::Splice }, Token(1)).unwrap();
        sends += 1;
        let sent = next(&mut kernel);
        let Outcome::Sent { batch: rest, .. } = sent.outcome else { panic!("{sent:?}") };
        batch = rest;
        if !batch.is_empty() {
            kernel.push(Op::PollWritable { socket }, Token(2)).unwrap();
            assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
        }
    }
    let splices = kernel.counters().socket_splices;
    assert!(splices <= sends + 4, "{splices} socket splices in {sends} sends of four pipe-fulls");
    let file_splices = kernel.counters().file_splices;
    assert_eq!(file_splices, splices, "the pipe's slots are counted: no splice finds it full");
    assert!(reader.join().unwrap() == wanted);
}

fn short_runs_are_read_and_never_referenced<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    let file = open(&mut kernel, 1 << 20);
    let mut batch = kernel.batch();
    for at in 0..512u64 {
        batch.push_bytes(&[9; 13]);
        batch.push_run(run(&file, at * 1_024, 1 + (at as u32 * 7) % 4_095));
    }
    let wanted = expected(&batch, &file);
    let (got, _) = send_all(&mut kernel, socket, &mut stream, batch, Verb::Splice, 65_536);
    assert!(got == wanted);
    assert_eq!(kernel.counters().file_splices, 0, "a short run was spliced");
}

fn a_run_past_the_end_of_its_file_fails_the_batch_and_nothing_more_is_sent<E: Engine>() {
    for verb in [Verb::Splice, Verb::Copy] {
        let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
        let (socket, mut stream) = accept(&mut kernel);
        let file = open(&mut kernel, 100_000);
        let lost = run(&file, 90_000, 16_384);
        let mut batch = kernel.batch();
        batch.push_bytes(&[1; 13]);
        batch.push_run(run(&file, 0, 16_384));
        batch.push_bytes(&[2; 13]);
        batch.push_run(lost);
        kernel.push(Op::Send { socket, batch, verb }, Token(1)).unwrap();
        let failed = next(&mut kernel);
        let Outcome::Failed(Failure::Run { run, errno: 0 }) = failed.outcome else {
            panic!("{verb:?}: {failed:?}")
        };
        assert_eq!(run.file, lost.file);
        // The next peer's bytes are its own: the pipe kept nothing.
        let mut batch = kernel.batch();
        batch.push_bytes(b"next");
        batch.push_run(Run { file: file.file, offset: 8, length: 5_000 });
        let wanted = expected(&batch, &file);
        let (got, _) = send_all(&mut kernel, socket, &mut stream, batch, verb, 4_096);
        assert!(got == wanted, "{verb:?}: bytes of the failed batch came along");
    }
}

fn a_file_cut_while_it_is_served_fails_the_batch<E: Engine>() {
    for verb in [Verb::Splice, Verb::Copy] {
        let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
        let (socket, _stream) = accept(&mut kernel);
        let file = open(&mut kernel, 1 << 20);
        std::fs::OpenOptions::new().write(true).open(&file.path).unwrap().set_len(20_000).unwrap();
        let mut batch = kernel.batch();
        batch.push_run(run(&file, 16_384, 16_384));
        kernel.push(Op::Send { socket, batch, verb }, Token(1)).unwrap();
        let failed = next(&mut kernel);
        let cut = matches!(failed.outcome, Outcome::Failed(Failure::Run { errno: 0, .. }));
        assert!(cut, "{verb:?}: {failed:?}");
        assert_eq!(kernel.stat(file.file).unwrap().size, 20_000);
    }
}

fn a_peer_that_reset_is_an_error_of_the_send<E: Engine>() {
    for verb in [Verb::Splice, Verb::Copy] {
        let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
        let (socket, stream) = accept(&mut kernel);
        let file = open(&mut kernel, 1 << 20);
        kernel.push(Op::PollReadable { socket }, Token(2)).unwrap();
        kernel.enter(Wait::No).unwrap();
        sys::linger_zero(stream.as_fd()).unwrap();
        drop(stream);
        assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
        let mut lost = None;
        for _ in 0..2 {
            let mut batch = kernel.batch();
            batch.push_run(run(&file, 0, 16_384));
            kernel.push(Op::Send { socket, batch, verb }, Token(1)).unwrap();
            if let Outcome::Failed(Failure::Os(errno)) = next(&mut kernel).outcome {
                lost = Some(errno);
                break;
            }
        }
        assert!(matches!(lost, Some(libc::EPIPE | libc::ECONNRESET)), "{verb:?}: {lost:?}");
        kernel.push(Op::Close { socket, reset: false }, Token(3)).unwrap();
        assert!(matches!(next(&mut kernel).outcome, Outcome::Closed));
    }
}

fn copied_batches_wait_for_scratch_and_for_the_disk<E: Engine>() {
    let options = KernelOptions { scratch_count: 1, scratch_bytes: 64 << 10, ..small() };
    let mut kernel = NativeKernel::<E>::new(&options).unwrap();
    let file = open(&mut kernel, 1 << 20);
    let (first, mut first_stream) = accept(&mut kernel);
    let (second, mut second_stream) = accept(&mut kernel);
    crate::system::drop_from_page_cache(&file.path).unwrap();
    assert_eq!(kernel.residency(run(&file, 0, 1 << 20)), Residency::Missing);
    let mut wanted = Vec::new();
    for (socket, offset) in [(first, 0u64), (second, 500_000)] {
        let mut batch = kernel.batch();
        batch.push_bytes(b"0123456789abc");
        batch.push_run(run(&file, offset, 40_000));
        wanted.push(expected(&batch, &file));
        kernel
            .push(Op::Send { socket, batch, verb: Verb::Copy }, Token(u64::from(socket.index)))
            .unwrap();
    }
    for _ in 0..2 {
        let sent = next(&mut kernel);
        let Outcome::Sent { bytes: 40_013, batch } = sent.outcome else { panic!("{sent:?}") };
        assert!(batch.is_empty());
    }
    assert!(kernel.counters().scratch_reads >= 1, "the disk was not read by the ring");
    assert_eq!(kernel.counters().scratch_waits, 1);
    for (stream, wanted) in [&mut first_stream, &mut second_stream].into_iter().zip(wanted) {
        let mut got = vec![0; wanted.len()];
        stream.read_exact(&mut got).unwrap();
        assert!(got == wanted);
    }
}

fn closing_a_socket_ends_its_copied_batch_first<E: Engine>() {
    let options = KernelOptions { scratch_count: 1, scratch_bytes: 64 << 10, ..small() };
    let mut kernel = NativeKernel::<E>::new(&options).unwrap();
    let file = open(&mut kernel, 1 << 20);
    let (first, _first_stream) = accept(&mut kernel);
    let (second, _second_stream) = accept(&mut kernel);
    crate::system::drop_from_page_cache(&file.path).unwrap();
    for (socket, token) in [(first, 1), (second, 2)] {
        let mut batch = kernel.batch();
        batch.push_run(run(&file, 0, 40_000));
        kernel.push(Op::Send { socket, batch, verb: Verb::Copy }, Token(token)).unwrap();
        kernel.push(Op::Close { socket, reset: false }, Token(10 + token)).unwrap();
    }
    let mut order: Vec<u64> = (0..4).map(|_| next(&mut kernel).token.0).collect();
    let at = |token| order.iter().position(|seen| *seen == token).unwrap();
    assert!(at(1) < at(11) && at(2) < at(12), "{order:?}");
    order.sort_unstable();
    assert_eq!(order, [1, 2, 11, 12]);
    assert_eq!(kernel.ops_in_flight(), 2, "only the two accepts are left");
}

fn a_pipe_that_stayed_small_means_copying<E: Engine>() {
    let options = KernelOptions { pipe_bytes: 16 * PAGE_BYTES, ..small() };
    let mut kernel = NativeKernel::<E>::new(&options).unwrap();
    assert_eq!(kernel.plan().verb, Verb::Copy);
    assert!(kernel.plan().reason.contains("fs.pipe-user-pages-soft"), "{:?}", kernel.plan());
    let (socket, mut stream) = accept(&mut kernel);
    let file = open(&mut kernel, 1 << 20);
    let batch = mixed_batch(&mut kernel, &file);
    let wanted = expected(&batch, &file);
    let (got, _) = send_all(&mut kernel, socket, &mut stream, batch, Verb::Splice, 50_000);
    assert!(got == wanted);
    assert_eq!(kernel.counters().bytes_spliced, 0);
}

fn files_that_cannot_splice_are_read<E: Engine>() {
    // A regular file without splice_read and without reads that do not wait.
    let path = Path::new("/proc/kallsyms");
    let wanted = std::fs::read(path).unwrap();
    let length = wanted.len().min(20_000) as u32;
    for verb in [Verb::Splice, Verb::Copy] {
        let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
        let (socket, mut stream) = accept(&mut kernel);
        let root = Directory::new("/proc".into());
        kernel.push(Op::Open { root, path: Arc::from(Path::new("kallsyms")) }, Token(1)).unwrap();
        let opened = next(&mut kernel);
        let Outcome::Opened { file, .. } = opened.outcome else { panic!("{opened:?}") };
        for _ in 0..2 {
            let mut batch = kernel.batch();
            batch.push_run(Run { file, offset: 0, length });
            let (got, _) = send_all(&mut kernel, socket, &mut stream, batch, verb, 4_096);
            assert!(got == wanted[..length as usize], "{verb:?}: the bytes differ");
        }
        let splices = verb == Verb::Splice;
        assert_eq!(kernel.counters().splice_refusals, u64::from(splices), "{verb:?}");
        assert_eq!(kernel.counters().scratch_reads > 0, !splices, "{verb:?}");
    }
}

fn a_second_send_is_refused_while_a_batch_is_read<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let file = open(&mut kernel, 1 << 20);
    let (socket, mut stream) = accept(&mut kernel);
    crate::system::drop_from_page_cache(&file.path).unwrap();
    for token in [1, 2] {
        let mut batch = kernel.batch();
        batch.push_run(run(&file, 0, 40_000));
        kernel.push(Op::Send { socket, batch, verb: Verb::Copy }, Token(token)).unwrap();
    }
    let refused = next(&mut kernel);
    assert_eq!(refused.token, Token(2));
    let is_busy = matches!(refused.outcome, Outcome::Failed(Failure::Os(libc::EBUSY)));
    assert!(is_busy, "{refused:?}");
    assert!(matches!(next(&mut kernel).outcome, Outcome::Sent { bytes: 40_000, .. }));
    // And accepted again afterwards.
    let mut batch = kernel.batch();
    batch.push_run(run(&file, 0, 5));
    kernel.push(Op::Send { socket, batch, verb: Verb::Copy }, Token(3)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Sent { bytes: 5, .. }));
    let mut got = vec![0; 40_005];
    stream.read_exact(&mut got).unwrap();
    assert!(got[..40_000] == file.bytes[..40_000] && got[40_000..] == file.bytes[..5]);
}

on_both_engines! {
    both_verbs_send_the_same_bytes_to_a_slow_reader,
    a_resumed_batch_is_written_anew,
    a_batch_larger_than_the_pipe_takes_one_socket_splice_a_pipe_full,
    short_runs_are_read_and_never_referenced,
    a_run_past_the_end_of_its_file_fails_the_batch_and_nothing_more_is_sent,
    a_file_cut_while_it_is_served_fails_the_batch,
    a_peer_that_reset_is_an_error_of_the_send,
    copied_batches_wait_for_scratch_and_for_the_disk,
    closing_a_socket_ends_its_copied_batch_first,
    a_pipe_that_stayed_small_means_copying,
    files_that_cannot_splice_are_read,
    a_second_send_is_refused_while_a_batch_is_read,
}
