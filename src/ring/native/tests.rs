//! The kernel in production against real sockets and files.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::*;

pub(super) fn small() -> KernelOptions {
    KernelOptions { sq_entries: 64, cq_entries: 512, ops_max: 256, ..KernelOptions::default() }
}

pub(super) fn listen<E: Engine>(kernel: &mut NativeKernel<E>) -> (Socket, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (kernel.adopt(listener.into()).unwrap(), address)
}

/// The next completion; waits at most ten seconds.
pub(super) fn next<E: Engine>(kernel: &mut NativeKernel<E>) -> Completion {
    for _ in 0..100 {
        if let Some(completion) = kernel.next() {
            return completion;
        }
        kernel.enter(Wait::AtMost(Duration::from_millis(100))).unwrap();
    }
    panic!("no completion within ten seconds");
}

pub(super) fn accept<E: Engine>(kernel: &mut NativeKernel<E>) -> (Socket, TcpStream) {
    let (listener, address) = listen(kernel);
    kernel.push(Op::Accept { listener }, Token(1)).unwrap();
    kernel.enter(Wait::No).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let accepted = next(kernel);
    assert!(accepted.more);
    let Outcome::Accepted { socket, peer } = accepted.outcome else { panic!("{accepted:?}") };
    assert_eq!(peer, stream.local_addr().unwrap());
    (socket, stream)
}

fn bytes_come_and_go<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    kernel.push(Op::Receive { socket }, Token(2)).unwrap();
    kernel.enter(Wait::No).unwrap();
    stream.write_all(b"a request").unwrap();
    let received = next(&mut kernel);
    let Outcome::Received { buffer } = received.outcome else { panic!("{received:?}") };
    assert_eq!(&*buffer, b"a request");
    assert!(received.more);
    drop(buffer);
    let mut batch = kernel.batch();
    batch.push_bytes(b"an answer");
    kernel.push(Op::Send { socket, batch, verb: Verb::Splice }, Token(3)).unwrap();
    let sent = next(&mut kernel);
    assert!(matches!(sent.outcome, Outcome::Sent { bytes: 9, .. }), "{sent:?}");
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"an answer");
    drop(stream);
    let end = next(&mut kernel);
    assert!(matches!(end.outcome, Outcome::EndOfStream) && !end.more, "{end:?}");
}

fn a_closed_socket_with_its_receive_armed_sends_an_end<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    let receive = kernel.push(Op::Receive { socket }, Token(2)).unwrap();
    kernel.enter(Wait::No).unwrap();
    kernel.push(Op::Close { socket, reset: false }, Token(3)).unwrap();
    let cancelled = next(&mut kernel);
    assert_eq!(cancelled.op, receive);
    assert!(matches!(cancelled.outcome, Outcome::Failed(Failure::Cancelled)), "{cancelled:?}");
    let closed = next(&mut kernel);
    assert!(matches!(closed.outcome, Outcome::Closed), "{closed:?}");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the peer sees the end of the stream");
}

fn a_reset_reaches_the_peer<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    kernel.push(Op::Close { socket, reset: true }, Token(3)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Closed));
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn another_thread_ends_the_wait<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    for _ in 0..3 {
        let waker = kernel.waker();
        let thread = std::thread::spawn(move || waker.wake());
        let woken = next(&mut kernel);
        assert!(matches!(woken.outcome, Outcome::Woken), "{woken:?}");
        assert_eq!(woken.token, Token::WAKE);
        thread.join().unwrap();
    }
}

on_both_engines! {
    bytes_come_and_go,
    a_closed_socket_with_its_receive_armed_sends_an_end,
    a_reset_reaches_the_peer,
    another_thread_ends_the_wait,
}
