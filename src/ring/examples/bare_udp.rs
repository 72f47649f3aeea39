//! The floor below a UDP tracker: takes whatever comes, parses nothing, and answers each datagram of more
//! than 16 bytes with 320 (an announce response with 50 peers), the others with 16 (a connect response).
//! Action and transaction id are copied from where BEP 15 has them, so that clients go on.
//!
//!     bare_udp 127.0.0.1:6969 [--ring]
//!
//! By recvmmsg and sendmmsg, 64 at a time; with `--ring` by the multishot receive and the joint sends of
//! this package's kernel.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use ringseed_ring::{Datagrams, Kernel, KernelOptions, Op, Outcome, Token, UringKernel, Wait};

/// Datagrams that a call takes.
const TOGETHER: usize = 64;
/// Bytes of the longest datagram that is told from shorter ones.
const IN_BYTES: usize = 2048;
/// Bytes of an answer to an announce.
const OUT_BYTES: usize = 320;
/// The rest of an answer: an interval, counts and peers that may be.
const FILLER: u8 = 1;
/// Bytes of a connect request, and of the answer.
const CONNECT_BYTES: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr =
        arguments.next().ok_or("usage: bare_udp ADDR:PORT [--ring]")?.parse()?;
    let socket = UdpSocket::bind(address)?;
    let buffer: i32 = 4 << 20;
    for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        let at: *const i32 = &buffer;
        let (fd, size) = (socket.as_raw_fd(), size_of::<i32>() as u32);
        // SAFETY: the value is readable for its size. What is not granted is a shorter queue.
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, at.cast(), size) };
    }
    match arguments.next().as_deref() {
        None => by_calls(&socket),
        Some("--ring") => by_ring(socket),
        Some(other) => Err(format!("what is {other}?").into()),
    }
}

/// The answer to a datagram is one of the same action and transaction id, of this length.
fn answer(datagram: &[u8], out: &mut [u8; OUT_BYTES]) -> usize {
    if let (Some(from), Some(to)) = (datagram.get(8..16), out.get_mut(..8)) {
        to.copy_from_slice(from);
    }
    if datagram.len() <= CONNECT_BYTES { CONNECT_BYTES } else { OUT_BYTES }
}

fn by_ring(socket: UdpSocket) -> Result<(), Box<dyn std::error::Error>> {
    let options = KernelOptions {
        receive_buffers: 1024,
        receive_buffer_bytes: IN_BYTES as u32,
        pipe_bytes: 0,
        scratch_count: 1,
        scratch_bytes: 4096,
        ..KernelOptions::default()
    };
    let mut kernel = UringKernel::new(&options)?;
    let socket = kernel.adopt(socket.into())?;
    let (mut answers, mut spare) = (Box::<Datagrams>::default(), None);
    let mut bytes = [FILLER; OUT_BYTES];
    let mut receives = false;
    loop {
        if !receives {
            kernel
                .push(Op::ReceiveDatagram { socket }, Token(0))
                .map_err(|_| "no place for an op")?;
            receives = true;
        }
        while let Some(completion) = kernel.next() {
            match completion.outcome {
                Outcome::Datagram { buffer, from } => answers.push(from, |out| {
                    let length = answer(&buffer, &mut bytes);
                    out.extend_from_slice(bytes.get(..length).unwrap_or_default());
                    true
                }),
                Outcome::DatagramsSent { datagrams, .. } => spare = Some(datagrams),
                outcome => println!("{outcome:?}"),
            }
            if completion.token == Token(0) {
                receives = completion.more;
            }
            if answers.len() == TOGETHER {
                break;
            }
        }
        if answers.is_empty() {
            kernel.enter(Wait::AtMost(Duration::from_secs(1)))?;
        } else {
            let datagrams = std::mem::replace(&mut answers, spare.take().unwrap_or_default());
            kernel
                .push(Op::SendDatagrams { socket, datagrams }, Token(1))
                .map_err(|_| "no place for an op")?;
            kernel.enter(Wait::No)?;
        }
    }
}

fn by_calls(socket: &UdpSocket) -> Result<(), Box<dyn std::error::Error>> {
    let fd = socket.as_raw_fd();
    let mut inputs = vec![[0u8; IN_BYTES]; TOGETHER];
    let mut outputs = vec![[FILLER; OUT_BYTES]; TOGETHER];
    // SAFETY: these are valid with all bytes zero.
    let mut names: [libc::sockaddr_in6; TOGETHER] = unsafe { std::mem::zeroed() };
    let mut slices = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; TOGETHER];
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; TOGETHER] = unsafe { std::mem::zeroed() };
    loop {
        let places = messages.iter_mut().zip(&mut slices).zip(&mut names).zip(&mut inputs);
        for (((message, slice), name), input) in places {
            *slice = libc::iovec { iov_base: input.as_mut_ptr().cast(), iov_len: IN_BYTES };
            let name: *mut libc::sockaddr_in6 = name;
            message.msg_hdr.msg_name = name.cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as u32;
            message.msg_hdr.msg_iov = slice;
            message.msg_hdr.msg_iovlen = 1;
        }
        let (at, count) = (messages.as_mut_ptr(), TOGETHER as u32);
        // SAFETY: each message names memory of ours that is writable for the call.
        let took =
            unsafe { libc::recvmmsg(fd, at, count, libc::MSG_WAITFORONE, std::ptr::null_mut()) };
        let Ok(took) = u32::try_from(took) else {
            return Err(std::io::Error::last_os_error().into());
        };
        let places = messages.iter_mut().zip(&mut slices).zip(&inputs).zip(&mut outputs);
        for (((message, slice), input), output) in places.take(took as usize) {
            let length = answer(input.get(..message.msg_len as usize).unwrap_or_default(), output);
            *slice = libc::iovec { iov_base: output.as_mut_ptr().cast(), iov_len: length };
            message.msg_hdr.msg_iov = slice;
        }
        // SAFETY: each message names memory of ours that is readable for the call. What is not sent is
        // lost, as datagrams are.
        unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), took, 0) };
    }
}
