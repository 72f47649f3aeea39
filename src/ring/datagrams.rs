//! Datagrams of one socket that go together.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::address::RawAddress;
use crate::limits::DATAGRAMS_TOGETHER;
use crate::sys::{Errno, errno};

/// Datagrams to be sent by [`Op::SendDatagrams`](crate::Op::SendDatagrams): one block of bytes, and who
/// is to have which of them. Keeps its memory when it is cleared.
#[derive(Debug, Default)]
pub struct Datagrams {
    bytes: Vec<u8>,
    each: Vec<Addressed>,
}

#[derive(Debug)]
struct Addressed {
    to: SocketAddr,
    /// Behind its last byte.
    end: usize,
}

impl Datagrams {
    /// Appends a datagram that `write` appends to the bytes it is given, which it must not shorten.
    /// `false` from it: there is none, and what it wrote is dropped.
    pub fn push(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let start = self.bytes.len();
        if write(&mut self.bytes) {
            self.each.push(Addressed { to, end: self.bytes.len() });
        } else {
            self.bytes.truncate(start);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Drops them, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.each.clear();
    }

    /// Those from place `from` on.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let mut start =
            from.checked_sub(1).and_then(|before| self.each.get(before)).map_or(0, |each| each.end);
        self.each.get(from..).unwrap_or_default().iter().map(move |Addressed { to, end }| {
            let bytes = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            (*to, bytes)
        })
    }
}

/// sendmmsg(2), never waiting: how many of the first [`DATAGRAMS_TOGETHER`] were sent, one at least; an error
/// is of the first one.
pub(crate) fn send_together<'d>(
    socket: BorrowedFd<'_>,
    datagrams: impl Iterator<Item = (SocketAddr, &'d [u8])>,
) -> Result<usize, Errno> {
    // SAFETY: these are valid with all bytes zero.
    let mut messages: [libc::mmsghdr; DATAGRAMS_TOGETHER] = unsafe { std::mem::zeroed() };
    let mut to = [RawAddress::NONE; DATAGRAMS_TOGETHER];
    let mut slices =
        [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; DATAGRAMS_TOGETHER];
    let mut count = 0;
    let places = messages.iter_mut().zip(&mut to).zip(&mut slices);
    for (((message, at), slice), (address, bytes)) in places.zip(datagrams) {
        *at = RawAddress::from(address);
        // It is read only.
        *slice = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        message.msg_hdr.msg_name = at.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_namelen = at.len();
        message.msg_hdr.msg_iov = slice;
        message.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    // SAFETY: the first `count` name addresses and bytes that live for the call.
    let sent = unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), count, flags) };
    usize::try_from(sent).map_err(|_| errno())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wanted_leaves_nothing_behind() {
        let to = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut datagrams = Datagrams::default();
        let write = |text: &'static [u8], wanted| {
            move |bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(text);
                wanted
            }
        };
        datagrams.push(to(1), write(b"one", true));
        datagrams.push(to(2), write(b"unwanted", false));
        datagrams.push(to(3), write(b"", true));
        datagrams.push(to(4), write(b"four", true));
        let all = [(to(1), &b"one"[..]), (to(3), b""), (to(4), b"four")];
        for from in 0..=3 {
            assert!(datagrams.iter_from(from).eq(all[from..].iter().copied()));
        }
        assert_eq!((datagrams.len(), datagrams.iter_from(9).count()), (3, 0));
        datagrams.clear();
        assert!(datagrams.is_empty() && datagrams.iter_from(0).next().is_none());
    }
}
