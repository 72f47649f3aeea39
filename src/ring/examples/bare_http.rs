//! The floor below an HTTP tracker: counts the ends of request heads (an empty line), parses nothing
//! else, and answers each with the same announce response of 50 peers. Connections are kept.
//! epoll, one recv(2) and one send(2) for what has come on a connection.
//!
//!     bare_http 127.0.0.1:6969

#[path = "bare/calls.rs"]
mod calls;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

/// What epoll says of the listener.
const LISTENER: u64 = u64::MAX;
/// Bytes that one receive takes: requests of a pipeline.
const IN_BYTES: usize = 1 << 16;
/// Peers in an answer, of 6 bytes each: what trackers give by default.
const PEERS: usize = 50;

struct Connection {
    socket: OwnedFd,
    /// The last byte that came before.
    last: u8,
    /// What the socket did not take.
    unsent: Vec<u8>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr =
        std::env::args().nth(1).ok_or("usage: bare_http ADDR:PORT")?.parse()?;
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    calls::set_tcp(listener.as_raw_fd(), libc::TCP_NODELAY, 1)?;
    let poll = calls::epoll_create()?;
    calls::epoll_add(&poll, listener.as_raw_fd(), LISTENER)?;
    let answer = answer();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    let mut buffer = vec![0; IN_BYTES];
    loop {
        let ready = calls::epoll_wait(&poll, &mut events)?;
        for event in &events[..ready] {
            let key = event.u64;
            if key == LISTENER {
                while let Ok(socket) = calls::accept(listener.as_raw_fd()) {
                    let free = connections.iter().position(Option::is_none);
                    let place = free.unwrap_or(connections.len());
                    calls::epoll_add(&poll, socket.as_raw_fd(), place as u64)?;
                    let connection = Connection { socket, last: 0, unsent: Vec::new() };
                    if place == connections.len() {
                        connections.push(None);
                    }
                    connections[place] = Some(connection);
                }
                continue;
            }
            let slot = &mut connections[key as usize];
            let Some(connection) = slot else { continue };
            if connection.serve(&mut buffer, &answer).is_err() {
                *slot = None;
            }
        }
    }
}

fn answer() -> Vec<u8> {
    let length = PEERS * 6;
    let mut body = format!("d8:completei25e10:incompletei25e8:intervali1800e5:peers{length}:");
    // Printable, so that they need no bytes of their own kind.
    body.push_str(&"a".repeat(length));
    body.push('e');
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\nContent-Length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Connection {
    /// Takes what has come and answers it.
    fn serve(&mut self, buffer: &mut [u8], answer: &[u8]) -> std::io::Result<()> {
        let socket = self.socket.as_raw_fd();
        loop {
            let bytes = match calls::receive(socket, buffer)? {
                None => break,
                Some(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Some(bytes) => bytes,
            };
            let (came, before) =
                (&buffer[..bytes], std::mem::replace(&mut self.last, buffer[bytes - 1]));
            // "\r\n\r\n" has a line feed with a carriage return behind it before the last pair; no
            // other place of a head without folded lines has.
            let within =
                came.iter().zip(&came[1..]).filter(|pair| *pair == (&b'\n', &b'\r')).count();
            let requests = within + usize::from((before, came[0]) == (b'\n', b'\r'));
            match requests {
                1 if self.unsent.is_empty() => {
                    let sent = calls::send(socket, answer)?;
                    self.unsent.extend_from_slice(&answer[sent..]);
                }
                _ => (0..requests).for_each(|_| self.unsent.extend_from_slice(answer)),
            }
            if bytes < buffer.len() {
                break;
            }
        }
        if !self.unsent.is_empty() {
            let sent = calls::send(socket, &self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }
}
