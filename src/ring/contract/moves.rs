//! The clauses of two kernels: one rings the other, and a socket goes from one to the other.

use super::*;
use crate::{Detached, Verb};

/// Takes the socket out, checked; the bytes that came before it did, and how its ops ended.
fn detach<M: Machine>(
    driver: &mut Driver<M>,
    socket: Socket,
) -> (Detached, Vec<u8>, Vec<Completion>) {
    let (token, _) = driver.push(Op::Detach { socket });
    let (mut bytes, mut ended) = (Vec::new(), Vec::new());
    loop {
        let completion = driver.next();
        match completion.outcome {
            Outcome::Received { buffer } => bytes.extend_from_slice(&buffer),
            Outcome::Detached { socket } => {
                assert!(completion.token == token && !completion.more);
                return (socket, bytes, ended);
            }
            _ => ended.push(completion),
        }
    }
}

/// To the other kernel, which becomes the driver's.
fn attach<M: Machine>(driver: &mut Driver<M>, socket: Detached) -> Socket {
    driver.machine.switch();
    driver.kernel().attach(socket).unwrap()
}

/// Receives until so many bytes are there.
fn receive<M: Machine>(driver: &mut Driver<M>, bytes: usize, into: &mut Vec<u8>) {
    while into.len() < bytes {
        let received = driver.next();
        let Outcome::Received { buffer } = received.outcome else { panic!("{received:?}") };
        into.extend_from_slice(&buffer);
    }
}

pub(in super::super) fn a_bell_ends_the_wait_of_another_kernel<M: Machine>(driver: &mut Driver<M>) {
    let bell = driver.kernel().bell();
    for _ in 0..3 {
        driver.machine.switch();
        driver.kernel().ring(&bell);
        driver.kernel().enter(Wait::No).unwrap();
        assert!(driver.take().is_none(), "who rings hears nothing");
        driver.machine.switch();
        let woken = driver.next();
        assert!(matches!(woken.outcome, Outcome::Woken), "{woken:?}");
        assert_eq!(woken.token, Token::WAKE);
    }
}

pub(in super::super) fn a_detached_socket_goes_on_in_another_kernel_and_comes_back<M: Machine>(
    driver: &mut Driver<M>,
) {
    let (mut socket, mut peer) = driver.connection();
    for turn in 0..3u8 {
        driver.push(Op::Receive { socket });
        peer.write(&[turn; 5]);
        let mut got = Vec::new();
        receive(driver, 5, &mut got);
        assert_eq!(got, [turn; 5]);
        let mut batch = driver.kernel().batch();
        batch.push_bytes(&[turn; 7]);
        driver.push(Op::Send { socket, batch, verb: Verb::Splice });
        let sent = driver.next();
        assert!(matches!(sent.outcome, Outcome::Sent { bytes: 7, .. }), "{sent:?}");
        driver.push(Op::PollReadable { socket });
        driver.kernel().enter(Wait::No).unwrap();
        let (detached, _, ended) = detach(driver, socket);
        assert_eq!(ended.len(), 2, "{ended:?}");
        assert!(ended.iter().all(|end| is_cancelled(&end.outcome) && !end.more), "{ended:?}");
        let mut answer = Vec::new();
        driver.until(|_| {
            peer.read(1 << 10, &mut answer);
            answer.len() == 7
        });
        socket = attach(driver, detached);
    }
    assert!(peer.end().is_none(), "the connection is as it was");
    driver.close(socket, false);
    driver.until(|_| peer.end() == Some(End::Finished));
}

pub(in super::super) fn what_was_received_before_a_detach_comes_first<M: Machine>(
    driver: &mut Driver<M>,
) {
    let (mut socket, mut peer) = driver.connection();
    let sent: Vec<u8> = (0..20_000u32).map(|at| (at / 7) as u8).collect();
    let (mut written, mut got) = (0, Vec::new());
    for part in sent.chunks(2_500) {
        driver.push(Op::Receive { socket });
        // Detached without a look at it: some of it was taken from the socket, some was not.
        written += peer.write(&part[..1_000]);
        driver.kernel().enter(Wait::AtMost(Duration::from_millis(1))).unwrap();
        written += peer.write(&part[1_000..]);
        let (detached, bytes, ended) = detach(driver, socket);
        assert!(ended.len() == 1 && is_cancelled(&ended[0].outcome), "{ended:?}");
        got.extend(bytes);
        socket = attach(driver, detached);
    }
    assert_eq!(written, sent.len(), "the socket has room for all of it");
    driver.push(Op::Receive { socket });
    receive(driver, sent.len(), &mut got);
    assert!(got == sent, "bytes were lost or came twice");
    assert_eq!(driver.close(socket, false).len(), 1);
}

pub(in super::super) fn a_peer_that_went_while_its_socket_was_detached_is_seen_by_the_next_kernel<
    M: Machine,
>(
    driver: &mut Driver<M>,
) {
    let (socket, mut peer) = driver.connection();
    driver.push(Op::Receive { socket });
    driver.kernel().enter(Wait::No).unwrap();
    let (detached, bytes, _) = detach(driver, socket);
    assert!(bytes.is_empty());
    peer.write(b"last words");
    peer.close();
    driver.kernel().enter(Wait::AtMost(Duration::from_millis(5))).unwrap();
    assert!(driver.take().is_none(), "the socket is not this kernel's any more");
    let socket = attach(driver, detached);
    driver.push(Op::Receive { socket });
    let mut got = Vec::new();
    receive(driver, 10, &mut got);
    assert_eq!(got, b"last words");
    let end = driver.next();
    assert!(matches!(end.outcome, Outcome::EndOfStream), "{end:?}");
    driver.close(socket, false);
}
