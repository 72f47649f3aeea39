//! The clauses of the order in which bytes leave: our own and those of files, as they were put in.

use super::*;
use crate::{Batch, Cipher, Run, Verb};

/// Batches of a stream, and frames in each: more than sockets hold, so that some go in part.
const BATCHES: usize = 24;
const FRAMES: usize = 48;

const BLOCK: usize = 16_384;
const FILE_BYTES: usize = 300_000;

/// The bytes of the file.
fn content() -> Vec<u8> {
    (0..FILE_BYTES as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The byte that a position of the stream is enciphered with.
fn key(at: u64) -> u8 {
    (at.wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 56) as u8
}

/// Enciphers by the position in the stream alone: each byte that is left out, sent twice or out of
/// its place makes all that follow unreadable.
#[derive(Debug, Default)]
struct Xor {
    at: u64,
}

impl Cipher for Xor {
    fn apply(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(self.at..).for_each(|(byte, at)| *byte ^= key(at));
    }

    fn advance(&mut self, bytes: u64) {
        self.at += bytes;
    }
}

/// One connection's stream, and what it is to be.
struct Stream<M: Machine> {
    socket: Socket,
    peer: M::Peer,
    file: File,
    content: Vec<u8>,
    verbs: [Verb; 2],
    cipher: Option<Box<dyn Cipher>>,
    wanted: Vec<u8>,
    got: Vec<u8>,
    sends: usize,
    taken_back: usize,
}

impl<M: Machine> Stream<M> {
    /// A batch of frames as a worker makes them: blocks, and between them frames of our own of many
    /// lengths. Where each frame ends, and its bytes.
    fn batch(&mut self, driver: &mut Driver<M>, turn: usize) -> (Box<Batch>, Vec<Vec<u8>>) {
        let mut batch = driver.kernel().batch();
        if let Some(cipher) = self.cipher.take() {
            batch.set_cipher(cipher);
        }
        let mut frames = Vec::new();
        for number in 0..FRAMES {
            let mut frame = vec![(turn + number) as u8; [13, 17, 3_000, 5, 16_400][number % 5]];
            let is_alone = turn % 3 == 1;
            batch.push_bytes(&frame);
            if number % 2 == 0 && !is_alone {
                let at = (turn * 4_321 + number * 777) % (FILE_BYTES - BLOCK);
                let run = Run { file: self.file, offset: at as u64, length: BLOCK as u32 };
                batch.push_run(run);
                frame.extend_from_slice(&self.content[at..at + BLOCK]);
            }
            if number % 7 == 0 {
                batch.push_zeros(100);
                frame.resize(frame.len() + 100, 0);
            }
            frames.push(frame);
        }
        (batch, frames)
    }

    /// Sends a batch. Each second time that the socket took a part of it, frames that are not begun are
    /// taken back, as after a choke; a frame for each follows, as a reject does.
    fn send(&mut self, driver: &mut Driver<M>, turn: usize) {
        let (mut batch, mut frames) = self.batch(driver, turn);
        let mut rejects = Vec::new();
        while !batch.is_empty() {
            let verb = self.verbs[self.sends % 2];
            driver.push(Op::Send { socket: self.socket, batch, verb });
            self.sends += 1;
            let sent = driver.next();
            let Outcome::Sent { batch: rest, .. } = sent.outcome else { panic!("{sent:?}") };
            batch = rest;
            if batch.is_empty() {
                break;
            }
            if self.sends.is_multiple_of(2) {
                let all: usize = frames.iter().map(Vec::len).sum();
                let mut end = all;
                let left = batch.len() as usize;
                while let Some(frame) = frames.pop() {
                    let begin = end - frame.len();
                    if begin < all - left {
                        frames.push(frame);
                        break;
                    }
                    end = begin;
                    rejects.push(17);
                    self.taken_back += 1;
                }
                batch.truncate((left - (all - end)) as u64);
            }
            self.wait_for_room(driver);
        }
        self.wanted.extend(frames.into_iter().flatten());
        self.cipher = batch.take_cipher();
        if rejects.is_empty() {
            return driver.kernel().recycle(batch);
        }
        // Into the batch that has gone, as a caller may.
        batch.push_bytes(&rejects);
        if let Some(cipher) = self.cipher.take() {
            batch.set_cipher(cipher);
        }
        self.wanted.extend_from_slice(&rejects);
        while !batch.is_empty() {
            driver.push(Op::Send { socket: self.socket, batch, verb: self.verbs[turn % 2] });
            let sent = driver.next();
            let Outcome::Sent { batch: rest, .. } = sent.outcome else { panic!("{sent:?}") };
            batch = rest;
            if !batch.is_empty() {
                self.wait_for_room(driver);
            }
        }
        self.cipher = batch.take_cipher();
        driver.kernel().recycle(batch);
    }

    fn wait_for_room(&mut self, driver: &mut Driver<M>) {
        driver.push(Op::PollWritable { socket: self.socket });
        loop {
            self.peer.read(50_000, &mut self.got);
            driver.kernel().enter(Wait::AtMost(Duration::from_millis(1))).unwrap();
            if let Some(completion) = driver.take() {
                return assert!(matches!(completion.outcome, Outcome::Done), "{completion:?}");
            }
        }
    }
}

/// Sends a stream by these verbs in turn, in the middle of batches too. It, with what was to arrive
/// and what did.
fn stream<M: Machine>(
    driver: &mut Driver<M>,
    verbs: [Verb; 2],
    cipher: Option<Box<dyn Cipher>>,
) -> Stream<M> {
    let content = content();
    driver.machine.add_file("data", &content);
    let (file, _) = driver.open("data").unwrap();
    let (socket, peer) = driver.connection();
    let (wanted, got, sends, taken_back) = (Vec::new(), Vec::new(), 0, 0);
    let mut stream =
        Stream { socket, peer, file, content, verbs, cipher, wanted, got, sends, taken_back };
    for turn in 0..BATCHES {
        stream.send(driver, turn);
    }
    let total = stream.wanted.len();
    driver.until(|_| {
        stream.peer.read(1 << 16, &mut stream.got);
        stream.got.len() >= total
    });
    driver.close(socket, false);
    driver.push(Op::CloseFile { file });
    assert!(matches!(driver.next().outcome, Outcome::Done));
    assert!(stream.sends > BATCHES && stream.taken_back > 0, "the socket was never full");
    stream
}

pub(super) fn own_bytes_and_blocks_leave_in_the_order_they_were_put_in<M: Machine>(
    driver: &mut Driver<M>,
) {
    for verbs in [[Verb::Splice; 2], [Verb::Copy; 2], [Verb::Splice, Verb::Copy]] {
        let stream = stream(driver, verbs, None);
        assert!(stream.got == stream.wanted, "{verbs:?}: the streams differ");
    }
}

pub(super) fn all_that_an_enciphered_connection_sends_goes_through_its_cipher_in_order<
    M: Machine,
>(
    driver: &mut Driver<M>,
) {
    for verbs in [[Verb::Copy; 2], [Verb::Splice; 2]] {
        let before = driver.kernel().counters().bytes_spliced;
        let mut stream = stream(driver, verbs, Some(Box::<Xor>::default()));
        assert_eq!(driver.kernel().counters().bytes_spliced, before, "sent by reference");
        Xor::default().apply(&mut stream.got);
        assert!(stream.got == stream.wanted, "{verbs:?}: the stream cannot be read");
    }
}
