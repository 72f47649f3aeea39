//! What only the kernel in production does: options, addresses, datagrams, direct calls, full queues.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::tests::{accept, listen, next, small};
use super::*;

fn option(socket: std::os::fd::BorrowedFd<'_>, level: i32, name: i32) -> Vec<u8> {
    use std::os::fd::AsRawFd;
    let mut value = [0u8; 16];
    let mut length = value.len() as libc::socklen_t;
    let (at, fd) = (value.as_mut_ptr().cast(), socket.as_raw_fd());
    // SAFETY: `value` is writable for `length` bytes.
    let result = unsafe { libc::getsockopt(fd, level, name, at, &mut length) };
    assert_eq!(result, 0);
    value[..length as usize].to_vec()
}

fn accepted_sockets_inherit_the_options_of_their_listener<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (listener, address) = listen(&mut kernel);
    let descriptor = kernel.descriptor(listener).unwrap();
    let options = [
        (libc::TCP_NODELAY, 1i32),
        (libc::TCP_USER_TIMEOUT, 45_000),
        (libc::TCP_NOTSENT_LOWAT, 1_048_576),
    ];
    for (name, value) in options {
        sys::set_option(descriptor, libc::IPPROTO_TCP, name, value).unwrap();
    }
    // Reno is in every kernel, and nobody's default.
    sys::set_option(descriptor, libc::IPPROTO_TCP, libc::TCP_CONGESTION, *b"reno").unwrap();
    kernel.push(Op::Accept { listener }, Token(1)).unwrap();
    kernel.enter(Wait::No).unwrap();
    let _peer = std::net::TcpStream::connect(address).unwrap();
    let Outcome::Accepted { socket, .. } = next(&mut kernel).outcome else { panic!("no socket") };
    let accepted = kernel.descriptor(socket).unwrap();
    for (name, value) in options {
        assert_eq!(option(accepted, libc::IPPROTO_TCP, name), value.to_ne_bytes(), "option {name}");
    }
    assert!(option(accepted, libc::IPPROTO_TCP, libc::TCP_CONGESTION).starts_with(b"reno\0"));
}

fn a_connection_is_made_from_the_address_asked_for<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let from = SocketAddr::from(([127, 0, 0, 9], 0));
    kernel.push(Op::Connect { to, from: Some(from) }, Token(1)).unwrap();
    let connected = next(&mut kernel);
    let Outcome::Connected { socket } = connected.outcome else { panic!("{connected:?}") };
    let (mut stream, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 9));
    assert_eq!(kernel.local_addr(socket).unwrap(), peer);
    kernel.push(Op::Receive { socket }, Token(2)).unwrap();
    stream.write_all(b"hello").unwrap();
    let Outcome::Received { buffer } = next(&mut kernel).outcome else { panic!("no bytes") };
    assert_eq!(&*buffer, b"hello");
}

fn one_send_may_carry_many_datagrams<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (ours, peer) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    ours.connect(peer.local_addr().unwrap()).unwrap();
    let socket = kernel.adopt(ours.into()).unwrap();
    kernel.cut_into_datagrams(socket, 5).unwrap();
    assert_eq!(kernel.send_now(socket, b"firstotherend").unwrap(), 13);
    assert_eq!(kernel.send_now(socket, b"one").unwrap(), 3);
    for text in ["first", "other", "end", "one"] {
        let mut answer = [0; 16];
        let bytes = peer.recv(&mut answer).unwrap();
        assert_eq!(&answer[..bytes], text.as_bytes());
    }
}

fn datagrams_come_with_their_sender_and_go<E: Engine>() {
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
        let socket = kernel.adopt(UdpSocket::bind(loopback).unwrap().into()).unwrap();
        let at = kernel.local_addr(socket).unwrap();
        kernel.push(Op::ReceiveDatagram { socket }, Token(1)).unwrap();
        kernel.enter(Wait::No).unwrap();
        let peer = UdpSocket::bind(loopback).unwrap();
        for text in [&b"first"[..], b"", b"third"] {
            peer.send_to(text, at).unwrap();
            let received = next(&mut kernel);
            assert!(received.more);
            let Outcome::Datagram { buffer, from } = received.outcome else {
                panic!("{received:?}")
            };
            assert_eq!((&*buffer, from), (text, peer.local_addr().unwrap()));
        }
        let to = peer.local_addr().unwrap();
        kernel.push(Op::SendDatagram { socket, to, bytes: (*b"answer").into() }, Token(2)).unwrap();
        assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
        let mut answer = [0; 16];
        let (bytes, from) = peer.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..bytes], from), (&b"answer"[..], at));
        kernel.push(Op::Close { socket, reset: false }, Token(3)).unwrap();
        assert!(matches!(next(&mut kernel).outcome, Outcome::Failed(Failure::Cancelled)));
        assert!(matches!(next(&mut kernel).outcome, Outcome::Closed));
    }
}

fn many_datagrams_go_together<E: Engine>() {
    const COUNT: u16 = 150;
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let socket = kernel.adopt(UdpSocket::bind("127.0.0.1:0").unwrap().into()).unwrap();
    let peers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = peers.each_ref().map(|peer| peer.local_addr().unwrap());
    let mut datagrams = Box::<crate::Datagrams>::default();
    for number in 0..COUNT {
        let to = match number {
            // Nobody may send to port 0, nor from IPv4 to IPv6.
            70 => SocketAddr::from(([127, 0, 0, 1], 0)),
            100 => "[::1]:9".parse().unwrap(),
            _ => to[usize::from(number % 2)],
        };
        datagrams.push(to, |bytes| {
            bytes.extend_from_slice(&number.to_be_bytes()[..]);
            bytes.resize(bytes.len() + usize::from(number), 7);
            true
        });
    }
    kernel.push(Op::SendDatagrams { socket, datagrams }, Token(1)).unwrap();
    let Outcome::DatagramsSent { datagrams, lost: 2 } = next(&mut kernel).outcome else {
        panic!("not all were sent")
    };
    assert!(datagrams.is_empty());
    for number in (0..COUNT).filter(|number| ![70, 100].contains(number)) {
        let mut bytes = [0; 400];
        let length = peers[usize::from(number % 2)].recv(&mut bytes).unwrap();
        assert_eq!((&bytes[..2], length), (&number.to_be_bytes()[..], 2 + usize::from(number)));
    }
    kernel.push(Op::Close { socket, reset: false }, Token(2)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Closed));
    kernel.push(Op::SendDatagrams { socket, datagrams }, Token(3)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Failed(Failure::Os(libc::EBADF))));
}

fn direct_calls_never_wait<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    let mut buffer = [0; 8];
    let nothing = Err(Failure::Os(libc::EAGAIN));
    assert_eq!(kernel.receive_now(socket, &mut buffer), nothing);
    assert_eq!(kernel.discard_now(socket, 8), nothing);
    stream.write_all(b"headpayloadtail").unwrap();
    kernel.push(Op::PollReadable { socket }, Token(1)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
    assert_eq!(kernel.receive_now(socket, &mut buffer[..4]), Ok(4));
    assert_eq!(&buffer[..4], b"head");
    assert_eq!(kernel.discard_now(socket, 7), Ok(7));
    assert_eq!(kernel.receive_now(socket, &mut buffer), Ok(4));
    assert_eq!(&buffer[..4], b"tail");
    assert_eq!(kernel.send_now(socket, b"answer"), Ok(6));
    stream.read_exact(&mut buffer[..6]).unwrap();
    drop(stream);
    kernel.push(Op::PollReadable { socket }, Token(1)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
    assert_eq!(kernel.receive_now(socket, &mut buffer), Ok(0), "the end");
    assert_eq!(kernel.discard_now(socket, 8), Ok(0), "the end");
}

fn a_widened_window_takes_more_than_the_system_gives<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (narrow, mut to_narrow) = accept(&mut kernel);
    let (wide, mut to_wide) = accept(&mut kernel);
    kernel.widen_window(wide, 2 << 20).unwrap();
    let room = |kernel: &NativeKernel<E>, socket| {
        let bytes = option(kernel.descriptor(socket).unwrap(), libc::SOL_SOCKET, libc::SO_RCVBUF);
        i32::from_ne_bytes(bytes[..4].try_into().unwrap())
    };
    assert!(room(&kernel, wide) > 2 * room(&kernel, narrow));
    // One byte is still enough to be told of.
    for (socket, peer) in [(narrow, &mut to_narrow), (wide, &mut to_wide)] {
        peer.write_all(b"x").unwrap();
        kernel.push(Op::PollReadable { socket }, Token(1)).unwrap();
        assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
    }
}

#[test]
fn a_wait_for_several_ends_with_the_last_of_them_or_with_its_time() {
    let mut kernel = UringKernel::new(&small()).unwrap();
    let pairs: Vec<_> = (0..3).map(|_| accept(&mut kernel)).collect();
    let took = |kernel: &mut UringKernel, written: usize| {
        for (socket, _) in &pairs {
            kernel.push(Op::PollReadable { socket: *socket }, Token(1)).unwrap();
        }
        for (_, stream) in &pairs[..written] {
            (&*stream).write_all(b"x").unwrap();
        }
        let began = std::time::SystemTime::now();
        kernel.enter_for(3, Duration::from_millis(300)).unwrap();
        let took = began.elapsed().unwrap();
        let came = std::iter::from_fn(|| kernel.next()).count();
        (came, took >= Duration::from_millis(250))
    };
    assert_eq!(took(&mut kernel, 2), (2, true));
    // Two sockets still have their byte; the third is the last one that is waited for.
    let (came, in_full) = took(&mut kernel, 3);
    assert!(came >= 3 && !in_full, "{came}");
}

fn a_full_op_table_gives_the_op_back_and_lets_closes_through<E: Engine>() {
    let options = KernelOptions { ops_max: 2, ..small() };
    let mut kernel = NativeKernel::<E>::new(&options).unwrap();
    let (socket, _stream) = accept(&mut kernel);
    kernel.push(Op::Receive { socket }, Token(2)).unwrap();
    let refused = kernel.push(Op::PollReadable { socket }, Token(3));
    assert!(matches!(refused, Err(Op::PollReadable { .. })));
    assert_eq!(kernel.counters().ops_refused, 1);
    kernel.push(Op::Close { socket, reset: false }, Token(4)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Failed(Failure::Cancelled)));
    assert!(matches!(next(&mut kernel).outcome, Outcome::Closed));
    assert_eq!(kernel.ops_in_flight(), 1);
}

fn more_ops_than_the_queue_holds_all_complete<E: Engine>() {
    let options = KernelOptions { sq_entries: 4, cq_entries: 8, ..small() };
    let mut kernel = NativeKernel::<E>::new(&options).unwrap();
    let sockets: Vec<_> = (0..40).map(|_| accept(&mut kernel)).collect();
    for (index, (socket, _)) in sockets.iter().enumerate() {
        kernel.push(Op::PollWritable { socket: *socket }, Token(100 + index as u64)).unwrap();
        kernel.push(Op::Receive { socket: *socket }, Token(200 + index as u64)).unwrap();
    }
    let mut done: Vec<u64> = (0..40).map(|_| next(&mut kernel).token.0).collect();
    done.sort_unstable();
    assert_eq!(done, (100..140).collect::<Vec<_>>());
    for (_, stream) in &sockets {
        (&*stream).write_all(b"x").unwrap();
    }
    let mut received: Vec<u64> = (0..40).map(|_| next(&mut kernel).token.0).collect();
    received.sort_unstable();
    assert_eq!(received, (200..240).collect::<Vec<_>>());
}

fn stale_names_are_recognised<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (old, _stream) = accept(&mut kernel);
    kernel.push(Op::Close { socket: old, reset: false }, Token(2)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Closed));
    let (new, mut stream) = accept(&mut kernel);
    assert!(kernel.sockets.at(old.index).is_some(), "the slot was used again");
    let stale = |outcome: &Outcome| matches!(outcome, Outcome::Failed(Failure::Os(libc::EBADF)));
    for op in [
        Op::Receive { socket: old },
        Op::PollWritable { socket: old },
        Op::Close { socket: old, reset: true },
        Op::Send { socket: old, batch: Box::default(), verb: Verb::Splice },
    ] {
        kernel.push(op, Token(3)).unwrap();
        assert!(stale(&next(&mut kernel).outcome));
    }
    assert_eq!(kernel.send_now(old, b"x"), Err(Failure::Os(libc::EBADF)));
    assert_eq!(kernel.unacknowledged_bytes(old), 0);
    assert_eq!(kernel.send_now(new, b"y"), Ok(1));
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"y");
}

fn a_closing_socket_takes_no_ops<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, _stream) = accept(&mut kernel);
    kernel.push(Op::Receive { socket }, Token(2)).unwrap();
    kernel.push(Op::Close { socket, reset: false }, Token(3)).unwrap();
    for op in [
        Op::PollReadable { socket },
        Op::Close { socket, reset: false },
        Op::Send { socket, batch: Box::default(), verb: Verb::Copy },
    ] {
        kernel.push(op, Token(4)).unwrap();
        let refused = next(&mut kernel);
        let is_refused =
            matches!(refused.outcome, Outcome::Failed(Failure::Os(libc::EBADF | libc::EBUSY)));
        assert!(refused.token == Token(4) && is_refused, "{refused:?}");
    }
    assert!(matches!(next(&mut kernel).outcome, Outcome::Failed(Failure::Cancelled)));
    assert!(matches!(next(&mut kernel).outcome, Outcome::Closed));
}

fn a_dropped_kernel_closes_its_sockets_and_waits_for_its_ops<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    kernel.push(Op::Receive { socket }, Token(2)).unwrap();
    kernel.enter(Wait::No).unwrap();
    drop(kernel);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the peer sees the end at once");
}

fn a_starved_receive_is_not_armed_again_before_buffers_came_home<E: Engine>() {
    let options = KernelOptions { receive_buffers: 2, ..small() };
    let mut kernel = NativeKernel::<E>::new(&options).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    kernel.push(Op::Receive { socket }, Token(2)).unwrap();
    kernel.enter(Wait::No).unwrap();
    stream.write_all(&[1; 5 * limits::RECEIVE_BUFFER_BYTES as usize]).unwrap();
    let kept = [next(&mut kernel), next(&mut kernel)];
    for _ in 0..50 {
        kernel.enter(Wait::AtMost(Duration::from_millis(1))).unwrap();
        assert!(kernel.next().is_none());
    }
    let (short, enters) = (kernel.counters().buffers_short, kernel.counters().enters);
    assert_eq!(short, 1, "armed again while no buffer was home");
    assert!(enters < 200, "{enters} enters");
    drop(kept);
    assert!(matches!(next(&mut kernel).outcome, Outcome::Received { .. }));
}

/// A poll that is not over yet: `false` if it is.
fn still_waits<E: Engine>(kernel: &mut NativeKernel<E>) -> bool {
    kernel.enter(Wait::AtMost(Duration::from_millis(1))).unwrap();
    kernel.next().is_none()
}

fn a_poll_minds_what_was_read_directly<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    let poll = |kernel: &mut NativeKernel<E>| {
        kernel.push(Op::PollReadable { socket }, Token(1)).unwrap();
    };
    poll(&mut kernel);
    stream.write_all(b"some bytes").unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
    let mut buffer = [0; 4];
    assert_eq!(kernel.receive_now(socket, &mut buffer), Ok(4));
    // Six bytes are left, and no more arrive.
    poll(&mut kernel);
    assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
    assert_eq!(kernel.discard_now(socket, 6), Ok(6));
    poll(&mut kernel);
    assert!(still_waits(&mut kernel), "all was read");
    stream.write_all(b"x").unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
}

fn bytes_that_came_before_the_receive_are_received<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (socket, mut stream) = accept(&mut kernel);
    kernel.push(Op::PollReadable { socket }, Token(1)).unwrap();
    stream.write_all(b"early").unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
    // The poll has taken the news of them.
    kernel.push(Op::Receive { socket }, Token(2)).unwrap();
    let Outcome::Received { buffer } = next(&mut kernel).outcome else { panic!("no bytes") };
    assert_eq!(&*buffer, b"early");
}

fn a_stream_that_ended_before_anybody_looked_is_received_to_its_end<E: Engine>() {
    let bytes = limits::RECEIVE_BUFFER_BYTES as usize;
    for length in [1, bytes - 1, bytes, bytes + 1, 40 * bytes, 40 * bytes + 7] {
        let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
        let (socket, mut stream) = accept(&mut kernel);
        stream.write_all(&vec![7; length]).unwrap();
        drop(stream);
        kernel.push(Op::Receive { socket }, Token(2)).unwrap();
        let mut received = 0;
        loop {
            let completion = next(&mut kernel);
            match completion.outcome {
                Outcome::Received { buffer } => received += buffer.len(),
                Outcome::EndOfStream => {
                    assert!(!completion.more);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(received, length);
    }
}

fn connections_that_came_before_the_accept_are_accepted<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let (listener, address) = listen(&mut kernel);
    let peers: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let accept = kernel.push(Op::Accept { listener }, Token(1)).unwrap();
    let mut from = Vec::new();
    for _ in &peers {
        let Outcome::Accepted { peer, .. } = next(&mut kernel).outcome else { panic!("no peer") };
        from.push(peer);
    }
    let mut wanted: Vec<_> = peers.iter().map(|peer| peer.local_addr().unwrap()).collect();
    from.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(from, wanted);
    // And one more after a pause of the accept.
    kernel.push(Op::Cancel { op: accept }, Token(2)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Failed(Failure::Cancelled)));
    let late = std::net::TcpStream::connect(address).unwrap();
    assert!(still_waits(&mut kernel));
    kernel.push(Op::Accept { listener }, Token(3)).unwrap();
    let Outcome::Accepted { peer, .. } = next(&mut kernel).outcome else { panic!("no peer") };
    assert_eq!(peer, late.local_addr().unwrap());
}

fn a_connect_that_nobody_answers_can_be_cancelled<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    // Its backlog takes one connection; what comes after that is not answered.
    let mut ops: Vec<OpId> = (0..4)
        .map(|token| kernel.push(Op::Connect { to, from: None }, Token(token)).unwrap())
        .collect();
    let mut connected = 0;
    for _ in 0..20 {
        kernel.enter(Wait::AtMost(Duration::from_millis(5))).unwrap();
        while let Some(completion) = kernel.next() {
            assert!(matches!(completion.outcome, Outcome::Connected { .. }), "{completion:?}");
            ops.retain(|op| *op != completion.op);
            connected += 1;
        }
    }
    assert!((1..4).contains(&connected), "{connected} connected");
    for op in &ops {
        kernel.push(Op::Cancel { op: *op }, Token(9)).unwrap();
    }
    for _ in 0..4 - connected {
        assert!(matches!(next(&mut kernel).outcome, Outcome::Failed(Failure::Cancelled)));
    }
    assert_eq!((kernel.ops_in_flight(), kernel.sockets()), (0, connected));
}

fn a_number_that_is_used_again_brings_no_news_of_the_socket_before<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    for round in 0..50u8 {
        let (socket, mut stream) = accept(&mut kernel);
        kernel.push(Op::Receive { socket }, Token(2)).unwrap();
        kernel.enter(Wait::No).unwrap();
        if round % 2 == 0 {
            stream.write_all(&[round]).unwrap();
            let Outcome::Received { buffer } = next(&mut kernel).outcome else { panic!("none") };
            assert_eq!(*buffer, [round]);
        }
        // News of this one is on its way when its number goes.
        stream.write_all(b"unread").unwrap();
        kernel.push(Op::Close { socket, reset: true }, Token(3)).unwrap();
        let outcomes = [next(&mut kernel), next(&mut kernel)];
        assert!(matches!(outcomes[1].outcome, Outcome::Closed), "{outcomes:?}");
    }
    assert_eq!(kernel.counters().stale_completions, 0);
}

on_both_engines! {
    a_poll_minds_what_was_read_directly,
    bytes_that_came_before_the_receive_are_received,
    a_stream_that_ended_before_anybody_looked_is_received_to_its_end,
    connections_that_came_before_the_accept_are_accepted,
    a_connect_that_nobody_answers_can_be_cancelled,
    a_number_that_is_used_again_brings_no_news_of_the_socket_before,
    one_send_may_carry_many_datagrams,
    accepted_sockets_inherit_the_options_of_their_listener,
    a_connection_is_made_from_the_address_asked_for,
    datagrams_come_with_their_sender_and_go,
    many_datagrams_go_together,
    direct_calls_never_wait,
    a_widened_window_takes_more_than_the_system_gives,
    a_full_op_table_gives_the_op_back_and_lets_closes_through,
    more_ops_than_the_queue_holds_all_complete,
    stale_names_are_recognised,
    a_closing_socket_takes_no_ops,
    a_dropped_kernel_closes_its_sockets_and_waits_for_its_ops,
    a_starved_receive_is_not_armed_again_before_buffers_came_home,
}
