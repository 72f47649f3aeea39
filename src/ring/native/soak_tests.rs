//! Random batches to several peers that read slowly, compared byte for byte as they arrive.
//! `RINGSEED_SOAK_BATCHES=100000 cargo test -p ringseed-ring soak` for a long run.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use super::send_tests::{TestFile, open};
use super::tests::{accept, small};
use super::*;
use crate::Part;

/// Batches of an ordinary test run.
const BATCHES: u64 = 400;
const FILE_BYTES: u64 = 8 << 20;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: a small generator with a known state, so that a failure can be run again.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

struct Peer {
    socket: Socket,
    stream: TcpStream,
    wanted: VecDeque<u8>,
    under_way: bool,
}

impl Peer {
    /// Reads up to `most` bytes and compares them.
    fn read(&mut self, most: u64) -> usize {
        let mut buffer = vec![0; most as usize];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("the stream ended"),
            Ok(bytes) => {
                let wanted: Vec<u8> = self.wanted.drain(..bytes).collect();
                assert!(buffer[..bytes] == wanted, "the bytes differ");
                bytes
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }
}

fn random_batch<E: Engine>(
    kernel: &mut NativeKernel<E>,
    file: &TestFile,
    random: &mut Random,
) -> Box<Batch> {
    let mut batch = kernel.batch();
    for _ in 0..1 + random.below(20) {
        match random.below(10) {
            0 => batch.push_zeros(1 + random.below(40_000) as u32),
            1 => {
                let length = 1 + random.below(9_000) as usize;
                batch.push_bytes(&file.bytes[..length]);
            }
            kind => {
                let most = [1, 4_095, 4_096, 16_384, 16_384, 16_384, 16_384, 131_072];
                let most = most[(kind - 2) as usize];
                let length = if kind < 6 { most } else { 1 + random.below(most) };
                let aligned = random.below(2) * 4_095 + 1;
                let offset = random.below(FILE_BYTES - length) / aligned * aligned;
                batch.push_bytes(&[0xa5; 13]);
                batch.push_run(Run { file: file.file, offset, length: length as u32 });
            }
        }
    }
    batch
}

fn expect(batch: &Batch, file: &TestFile, wanted: &mut VecDeque<u8>) {
    for part in batch.remaining() {
        match part {
            Part::Bytes { start, length } => wanted.extend(batch.bytes_of(start, length)),
            Part::Zeros(length) => wanted.extend(std::iter::repeat_n(0, length as usize)),
            Part::Run(run) => {
                let start = run.offset as usize;
                wanted.extend(&file.bytes[start..start + run.length as usize]);
            }
        }
    }
}

/// One completion: a batch that is left over waits for the socket, then goes on by either verb.
fn on_completion<E: Engine>(
    kernel: &mut NativeKernel<E>,
    peer: &mut Peer,
    rest: &mut Option<Box<Batch>>,
    completion: Completion,
    verb: Verb,
) {
    match completion.outcome {
        Outcome::Sent { batch, .. } if batch.is_empty() => {
            kernel.recycle(batch);
            peer.under_way = false;
        }
        Outcome::Sent { batch, .. } => {
            *rest = Some(batch);
            kernel.push(Op::PollWritable { socket: peer.socket }, completion.token).unwrap();
        }
        Outcome::Done => {
            let batch = rest.take().unwrap();
            kernel.push(Op::Send { socket: peer.socket, batch, verb }, completion.token).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

fn soak_random_batches_arrive_byte_for_byte_at_slow_readers<E: Engine>() {
    let batches = std::env::var("RINGSEED_SOAK_BATCHES");
    let batches = batches.ok().and_then(|text| text.parse().ok()).unwrap_or(BATCHES);
    let mut random = Random(0x5eed_0f51);
    let options = KernelOptions { scratch_count: 2, scratch_bytes: 200 << 10, ..small() };
    let mut kernel = NativeKernel::<E>::new(&options).unwrap();
    let file = open(&mut kernel, FILE_BYTES as usize);
    let mut peers: Vec<Peer> = (0..5)
        .map(|_| {
            let (socket, stream) = accept(&mut kernel);
            let bytes = (4 << 10) << random.below(6);
            let descriptor = kernel.descriptor(socket).unwrap();
            sys::set_option(descriptor, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes).unwrap();
            stream.set_nonblocking(true).unwrap();
            Peer { socket, stream, wanted: VecDeque::new(), under_way: false }
        })
        .collect();
    let mut rests: Vec<Option<Box<Batch>>> = peers.iter().map(|_| None).collect();
    let verbs = [Verb::Splice, Verb::Splice, Verb::Copy];
    let (mut sent, mut idle_turns) = (0, 0);
    while sent < batches || peers.iter().any(|peer| !peer.wanted.is_empty()) {
        let index = random.below(peers.len() as u64) as usize;
        let peer = &mut peers[index];
        if !peer.under_way && sent < batches {
            let batch = random_batch(&mut kernel, &file, &mut random);
            expect(&batch, &file, &mut peer.wanted);
            let (socket, verb) = (peer.socket, verbs[random.below(3) as usize]);
            kernel.push(Op::Send { socket, batch, verb }, Token(1_000 + index as u64)).unwrap();
            peer.under_way = true;
            sent += 1;
            if sent.is_multiple_of(50) {
                crate::system::drop_from_page_cache(&file.path).unwrap();
            }
        }
        let most = 1 + random.below(60_000);
        let read = peers[random.below(5) as usize].read(most);
        // A disk, or a thread that waits for one, gets its time when nothing else moves.
        let wait = u64::from(read == 0 && (sent >= batches || idle_turns > 100));
        kernel.enter(Wait::AtMost(Duration::from_millis(wait))).unwrap();
        idle_turns = if read == 0 { idle_turns + 1 } else { 0 };
        assert!(idle_turns < 20_000, "nothing moves any more");
        while let Some(completion) = kernel.next() {
            let index = (completion.token.0 - 1_000) as usize;
            let verb = verbs[random.below(3) as usize];
            on_completion(&mut kernel, &mut peers[index], &mut rests[index], completion, verb);
        }
    }
    let counters = kernel.counters();
    assert!(counters.partial_sends > batches / 2, "{counters:?}");
    assert!(counters.bytes_spliced > 0 && counters.bytes_copied > 0, "{counters:?}");
    println!("{counters:#?}");
}

on_both_engines! {
    soak_random_batches_arrive_byte_for_byte_at_slow_readers,
}
