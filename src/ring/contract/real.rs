//! The machine itself: real sockets and files around a [`NativeKernel`] with either engine.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{BUFFER_BYTES, BUFFERS, End, Machine, Peer, contract};
use crate::engine::Engine;
use crate::epoll::EpollEngine;
use crate::uring::UringEngine;
use crate::{Directory, KernelOptions, NativeKernel, Socket, limits, sys, system};

struct Real<E: Engine> {
    kernel: NativeKernel<E>,
    other: NativeKernel<E>,
    folder: tempfile::TempDir,
}

impl<E: Engine> Real<E> {
    fn new() -> Real<E> {
        let options = KernelOptions {
            sq_entries: 8,
            cq_entries: 128,
            ops_max: 64,
            receive_buffers: BUFFERS,
            receive_buffer_bytes: BUFFER_BYTES as u32,
            ..KernelOptions::default()
        };
        let (kernel, other) = (NativeKernel::new(&options), NativeKernel::new(&options));
        let folder = tempfile::tempdir().unwrap();
        Real { kernel: kernel.unwrap(), other: other.unwrap(), folder }
    }
}

impl<E: Engine> Machine for Real<E> {
    type Kernel = NativeKernel<E>;
    type Peer = RealPeer;

    fn kernel(&mut self) -> &mut NativeKernel<E> {
        &mut self.kernel
    }

    fn switch(&mut self) {
        std::mem::swap(&mut self.kernel, &mut self.other);
    }

    fn listen(&mut self) -> (Socket, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (self.kernel.adopt(listener.into()).unwrap(), address)
    }

    fn connect(&mut self, to: SocketAddr) -> RealPeer {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nonblocking(true).unwrap();
        RealPeer { stream, end: None }
    }

    fn nobody(&mut self) -> SocketAddr {
        // Bound and not listening: nobody else is given this port meanwhile.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    fn root(&self) -> Arc<Directory> {
        Directory::new(self.folder.path().to_owned())
    }

    fn add_file(&mut self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn truncate(&mut self, name: &str, size: u64) {
        let path = self.folder.path().join(name);
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
    }

    fn evict(&mut self, name: &str) {
        system::drop_from_page_cache(&self.folder.path().join(name)).unwrap();
    }

    fn tcp_bytes_told_of_nothing(&self) -> u64 {
        system::cores() as u64 * limits::TCP_BYTES_UNTOLD_A_CORE
    }
}

struct RealPeer {
    stream: TcpStream,
    end: Option<End>,
}

impl Peer for RealPeer {
    fn write(&mut self, bytes: &[u8]) -> usize {
        match self.stream.write(bytes) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn read(&mut self, most: usize, into: &mut Vec<u8>) {
        let mut buffer = vec![0; most.min(1 << 16)];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end = Some(End::Finished),
            Ok(bytes) => into.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.end = Some(End::Reset);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn end(&mut self) -> Option<End> {
        let mut rest = Vec::new();
        self.read(1, &mut rest);
        assert!(rest.is_empty(), "unread bytes");
        self.end
    }

    fn close(self) {}

    fn reset(self) {
        sys::linger_zero(self.stream.as_fd()).unwrap();
    }
}

mod io_uring {
    use super::*;

    contract!(Real::<UringEngine>::new());
}

mod epoll {
    use super::*;

    contract!(Real::<EpollEngine>::new());
}
