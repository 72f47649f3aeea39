//! The simulated world around [`SimKernel`], with no faults: those have tests of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::{BUFFER_BYTES, BUFFERS, End, Machine, Peer, contract};
use crate::sim::{Content, Options, Remote, RemoteState, SimKernel, World};
use crate::{Directory, Socket};

const ROOT: &str = "/simulated";

struct Simulated {
    world: World,
    kernel: SimKernel,
    other: SimKernel,
    ports: u16,
}

impl Simulated {
    fn new() -> Simulated {
        let options = Options { buffers: BUFFERS, buffer_bytes: BUFFER_BYTES, ..Options::calm(7) };
        let world = World::new(options);
        let (kernel, other) = (world.kernel(), world.kernel());
        Simulated { world, kernel, other, ports: 1_000 }
    }

    fn address(&mut self) -> SocketAddr {
        self.ports += 1;
        SocketAddr::from(([127, 0, 0, 1], self.ports))
    }
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(ROOT).join(name)
}

impl Machine for Simulated {
    type Kernel = SimKernel;
    type Peer = SimulatedPeer;

    fn kernel(&mut self) -> &mut SimKernel {
        &mut self.kernel
    }

    fn switch(&mut self) {
        std::mem::swap(&mut self.kernel, &mut self.other);
    }

    fn listen(&mut self) -> (Socket, SocketAddr) {
        let at = self.address();
        (self.world.listen(at).unwrap(), at)
    }

    fn connect(&mut self, to: SocketAddr) -> SimulatedPeer {
        let from = self.address();
        SimulatedPeer(self.world.connect(from, to).unwrap())
    }

    fn nobody(&mut self) -> SocketAddr {
        self.address()
    }

    fn root(&self) -> Arc<Directory> {
        Directory::new(ROOT.into())
    }

    fn add_file(&mut self, name: &str, bytes: &[u8]) {
        let content = Content::Bytes(Rc::from(bytes));
        self.world.add_file(&path(name), content, bytes.len() as u64);
        self.world.warm(&path(name));
    }

    fn truncate(&mut self, name: &str, size: u64) {
        self.world.truncate(&path(name), size);
    }

    fn evict(&mut self, name: &str) {
        self.world.cool(&path(name));
    }

    fn tcp_bytes_told_of_nothing(&self) -> u64 {
        0
    }
}

struct SimulatedPeer(Remote);

impl Peer for SimulatedPeer {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.write(bytes)
    }

    fn read(&mut self, most: usize, into: &mut Vec<u8>) {
        into.extend(self.0.read_at_most(most));
    }

    fn end(&mut self) -> Option<End> {
        match self.0.state() {
            RemoteState::Open => None,
            RemoteState::Ended => Some(End::Finished),
            RemoteState::Reset => Some(End::Reset),
        }
    }

    fn close(self) {
        self.0.close();
    }

    fn reset(self) {
        self.0.reset();
    }
}

contract!(Simulated::new());
