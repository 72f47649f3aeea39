//! One TCP connection between a socket of the kernel and a remote end that the test drives.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use super::disk::Disk;
use super::gifts::Gift;
use crate::OpId;

/// Bytes that a socket holds until the peer has acknowledged them.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    /// Gifted memory: what its page holds when the bytes leave.
    Gift(Gift),
    /// Pages of a file: what they hold when the bytes leave.
    File { inode: usize, offset: u64, length: usize },
    /// The shared page of zeros.
    Zeros(usize),
    /// A copy of the socket's own.
    Owned { bytes: Rc<[u8]>, start: usize, length: usize },
}

impl Segment {
    pub(crate) fn len(&self) -> usize {
        match self {
            Segment::Gift(gift) => gift.len(),
            Segment::File { length, .. }
            | Segment::Owned { length, .. }
            | Segment::Zeros(length) => *length,
        }
    }

    /// Splits off the first `first` bytes.
    fn split_to(&mut self, first: usize) -> Segment {
        match self {
            Segment::Gift(gift) => Segment::Gift(gift.split_to(first)),
            Segment::File { inode, offset, length } => {
                let head = Segment::File { inode: *inode, offset: *offset, length: first };
                *offset += first as u64;
                *length -= first;
                head
            }
            Segment::Zeros(length) => {
                *length -= first;
                Segment::Zeros(first)
            }
            Segment::Owned { bytes, start, length } => {
                let head = Segment::Owned { bytes: Rc::clone(bytes), start: *start, length: first };
                *start += first;
                *length -= first;
                head
            }
        }
    }

    fn append_to(&self, disk: &Disk, out: &mut Vec<u8>) {
        match self {
            Segment::Gift(gift) => gift.append_to(out),
            Segment::File { inode, offset, length } => {
                disk.inode(*inode).append_to(*offset, *length, out);
            }
            Segment::Zeros(length) => out.resize(out.len() + length, 0),
            Segment::Owned { bytes, start, length } => {
                out.extend_from_slice(&bytes[*start..*start + *length]);
            }
        }
    }
}

/// What the remote end sends.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// How the remote end sees the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemoteState {
    /// Bytes may still come.
    Open,
    /// The other side sent its FIN; all its bytes were read or lie in the inbox.
    Ended,
    /// The other side, or the network, reset the connection.
    Reset,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    pub(crate) latency_us: u64,
    /// Towards the remote: taken by the socket, not acknowledged.
    queue: VecDeque<Segment>,
    pub(crate) queued: u64,
    pub(crate) capacity: u64,
    /// A delivery is on its way.
    pub(crate) delivering: bool,
    /// When the remote last acknowledged something, or the queue was empty.
    pub(crate) progress_us: u64,
    /// A time-out is on its way.
    pub(crate) timing: bool,
    /// The local side sends no more: FIN behind the queue.
    finishing: bool,
    /// Bytes after which the network resets the connection.
    pub(crate) reset_after: Option<u64>,
    /// The network, not one of the ends, ended the connection.
    pub(crate) lost_to_network: bool,
    pub(crate) delivered: u64,
    inbox: Vec<u8>,
    pub(crate) window: usize,
    pub(crate) remote: RemoteState,
    /// The remote closed: what arrives there is answered by a reset.
    pub(crate) remote_closed: bool,
    /// Towards us.
    pub(crate) arriving: VecDeque<(u64, Arrival)>,
    pub(crate) inbound: VecDeque<u8>,
    /// Bytes arriving or arrived and not received.
    inbound_bytes: usize,
    pub(crate) inbound_capacity: usize,
    pub(crate) ended: bool,
    /// The local side closed: nothing that arrives is kept.
    pub(crate) local_closed: bool,
    /// The connection is lost; the errno, until it was told once.
    pub(crate) lost: Option<i32>,
    told: bool,
    pub(crate) receive: Option<OpId>,
    pub(crate) send: Option<OpId>,
    pub(crate) polls_writable: Vec<OpId>,
    pub(crate) polls_readable: Vec<OpId>,
}

/// Sizes of a connection's buffers, and how far away its remote end is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) latency_us: u64,
    pub(crate) send_bytes: u64,
    pub(crate) receive_bytes: usize,
    pub(crate) window_bytes: usize,
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, link: Link, now_us: u64) -> Connection {
        Connection {
            peer,
            latency_us: link.latency_us,
            queue: VecDeque::new(),
            queued: 0,
            capacity: link.send_bytes,
            delivering: false,
            progress_us: now_us,
            timing: false,
            finishing: false,
            reset_after: None,
            lost_to_network: false,
            delivered: 0,
            inbox: Vec::new(),
            window: link.window_bytes,
            remote: RemoteState::Open,
            remote_closed: false,
            arriving: VecDeque::new(),
            inbound: VecDeque::new(),
            inbound_bytes: 0,
            inbound_capacity: link.receive_bytes,
            ended: false,
            local_closed: false,
            lost: None,
            told: false,
            receive: None,
            send: None,
            polls_writable: Vec::new(),
            polls_readable: Vec::new(),
        }
    }

    /// Bytes the socket takes now.
    pub(crate) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.queued)
    }

    /// POLLOUT: as Linux, when at least a third of the buffer is free; and when the connection is lost.
    pub(crate) fn is_writable(&self) -> bool {
        self.lost.is_some() || self.room() * 2 >= self.queued.max(1)
    }

    /// POLLIN, POLLRDHUP, POLLERR.
    pub(crate) fn is_readable(&self) -> bool {
        !self.inbound.is_empty() || self.ended || self.lost.is_some()
    }

    /// Takes the first `length` bytes of the segments into the queue.
    pub(crate) fn take(&mut self, segments: Vec<Segment>, length: u64) {
        let mut left = length as usize;
        for mut segment in segments {
            if left == 0 {
                break;
            }
            let part = segment.split_to(segment.len().min(left));
            left -= part.len();
            self.queued += part.len() as u64;
            self.queue.push_back(part);
        }
    }

    /// Moves up to `most` bytes to the remote; returns how many.
    pub(crate) fn deliver(&mut self, most: u64, disk: &Disk) -> u64 {
        let limit = most.min(self.queued);
        let mut left = limit as usize;
        while left > 0 {
            let Some(mut segment) = self.queue.pop_front() else { break };
            let part = segment.split_to(segment.len().min(left));
            part.append_to(disk, &mut self.inbox);
            left -= part.len();
            if segment.len() > 0 {
                self.queue.push_front(segment);
            }
        }
        self.queued -= limit;
        self.delivered += limit;
        limit
    }

    /// Bytes the remote's window has room for.
    pub(crate) fn window_room(&self) -> u64 {
        self.window.saturating_sub(self.inbox.len()) as u64
    }

    /// Inodes that bytes in the queue refer to.
    pub(crate) fn files_in_flight(&self) -> impl Iterator<Item = usize> + '_ {
        self.queue.iter().filter_map(|segment| match segment {
            Segment::File { inode, .. } => Some(*inode),
            _ => None,
        })
    }

    /// What the remote has not read, up to `most` bytes.
    pub(crate) fn read_inbox(&mut self, most: usize) -> Vec<u8> {
        if most >= self.inbox.len() {
            return std::mem::take(&mut self.inbox);
        }
        let rest = self.inbox.split_off(most);
        std::mem::replace(&mut self.inbox, rest)
    }

    /// Bytes that wait for the remote to read them.
    pub(crate) fn inbox_bytes(&self) -> usize {
        self.inbox.len()
    }

    /// Takes what the remote writes, as far as there is room.
    pub(crate) fn write(&mut self, bytes: &[u8], at_us: u64) -> usize {
        if self.lost.is_some() || self.local_closed || self.remote_closed {
            return 0;
        }
        let taken = bytes.len().min(self.inbound_capacity.saturating_sub(self.inbound_bytes));
        if taken > 0 {
            self.inbound_bytes += taken;
            self.arriving.push_back((at_us, Arrival::Bytes(bytes[..taken].to_vec())));
        }
        taken
    }

    /// Takes up to `most` received bytes.
    pub(crate) fn receive(&mut self, most: usize) -> Vec<u8> {
        let bytes: Vec<u8> = self.inbound.drain(..most.min(self.inbound.len())).collect();
        self.inbound_bytes -= bytes.len();
        bytes
    }

    /// The local side sends no more; its FIN follows the queue.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }

    /// The queue is empty and the FIN is due.
    pub(crate) fn fin_is_due(&self) -> bool {
        self.finishing && self.queued == 0 && self.remote == RemoteState::Open
    }

    /// Loses the connection: the local side learns `errno`, the remote sees a reset.
    pub(crate) fn lose(&mut self, errno: i32) {
        self.lost.get_or_insert(errno);
        self.queue.clear();
        self.queued = 0;
        if self.remote == RemoteState::Open {
            self.remote = RemoteState::Reset;
        }
    }

    /// The errno of a lost connection as a send meets it: the cause once, then EPIPE.
    pub(crate) fn send_error(&mut self) -> Option<i32> {
        let errno = self.lost?;
        Some(if std::mem::replace(&mut self.told, true) { libc::EPIPE } else { errno })
    }
}
