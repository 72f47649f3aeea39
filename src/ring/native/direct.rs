//! Direct, non-blocking calls on sockets, for programs that move bytes and check little (load
//! generators). Readiness comes from [`Op::PollReadable`](crate::Op::PollReadable) and
//! [`Op::PollWritable`](crate::Op::PollWritable).

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::engine::Engine;
use crate::uring::UringEngine;
use crate::{Failure, KernelError, Socket, sys};

use super::NativeKernel;

impl NativeKernel<UringEngine> {
    /// As [`Kernel::enter`](crate::Kernel::enter), but waits until `completions` are there, or the time
    /// has passed: who has enough to wait for is woken less often, for more.
    pub fn enter_for(&mut self, completions: u32, wait: Duration) -> Result<(), KernelError> {
        self.feed();
        let wait = self.ready.is_empty().then_some(wait);
        self.engine.enter_for(completions, wait)
    }
}

impl<E: Engine> NativeKernel<E> {
    /// The socket's descriptor, for options (socket2's `SockRef`). `None` for a stale name.
    pub fn descriptor(&self, socket: Socket) -> Option<BorrowedFd<'_>> {
        self.sockets.get(socket.index, socket.generation).map(|owned| owned.fd())
    }

    fn open_descriptor(&self, socket: Socket) -> Result<BorrowedFd<'_>, Failure> {
        self.descriptor(socket).ok_or(Failure::Os(libc::EBADF))
    }

    /// The address it is bound to (port 0 became a port).
    pub fn local_addr(&self, socket: Socket) -> Result<SocketAddr, Failure> {
        sys::socket_name(self.open_descriptor(socket)?).map_err(Failure::Os)
    }

    /// Lets the peer have `bytes` on their way to this TCP socket, as far as net.ipv4.tcp_rmem allows. The
    /// system would come to that by itself where a round trip takes its time; where it takes
    /// microseconds, it sees no reason to. SO_RCVBUF would be bound by net.core.rmem_max.
    pub fn widen_window(&self, socket: Socket, bytes: u32) -> Result<(), Failure> {
        let fd = self.open_descriptor(socket)?;
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        // Raising the mark makes room for it; lowering it takes none away.
        [bytes, 1].into_iter().try_for_each(|mark| {
            sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, mark).map_err(Failure::Os)
        })
    }

    /// recv(2), never waiting: how many bytes; 0 is the end of the stream. `Os(EAGAIN)`: nothing there.
    #[inline]
    pub fn receive_now(&mut self, socket: Socket, into: &mut [u8]) -> Result<usize, Failure> {
        let bytes = sys::recv(self.open_descriptor(socket)?, into).map_err(Failure::Os)?;
        self.counters.bytes_received += bytes as u64;
        Ok(bytes)
    }

    /// Takes up to `bytes` from a TCP socket without copying them (MSG_TRUNC): how many; 0 is the
    /// end of the stream. `Os(EAGAIN)`: nothing there.
    #[inline]
    pub fn discard_now(&mut self, socket: Socket, bytes: usize) -> Result<usize, Failure> {
        let bytes = sys::recv_discard(self.open_descriptor(socket)?, bytes).map_err(Failure::Os)?;
        self.counters.bytes_received += bytes as u64;
        Ok(bytes)
    }

    /// From now on what is handed to a connected UDP socket at once leaves as datagrams of `bytes`
    /// each, the last one shorter where that leaves a rest (UDP_SEGMENT, at most 64 of them): one
    /// way through the network stack for all. `Os(ENOPROTOOPT)`: not before Linux 4.18.
    pub fn cut_into_datagrams(&mut self, socket: Socket, bytes: u16) -> Result<(), Failure> {
        let socket = self.open_descriptor(socket)?;
        sys::set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, i32::from(bytes))
            .map_err(Failure::Os)
    }

    /// send(2), never waiting: how many bytes the socket took. `Os(EAGAIN)`: none.
    #[inline]
    pub fn send_now(&mut self, socket: Socket, bytes: &[u8]) -> Result<usize, Failure> {
        let bytes = sys::send(self.open_descriptor(socket)?, bytes).map_err(Failure::Os)?;
        self.counters.bytes_sent += bytes as u64;
        Ok(bytes)
    }
}
