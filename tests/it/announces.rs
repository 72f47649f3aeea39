//! A tracker that only listens: it answers every announce with no peers and keeps what was said.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::seeder::now;

/// The listening tracker; its thread ends with the test process.
pub(crate) struct Announces {
    address: SocketAddr,
    requests: Receiver<String>,
}

impl Announces {
    /// Listens on a free port of loopback.
    pub(crate) fn listen() -> Announces {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || answer(stream, &sender));
            }
        });
        Announces { address, requests }
    }

    /// The announce URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    /// The next announce whose query holds all of `parts`; `None` after `within`.
    pub(crate) fn next(&self, parts: &[&str], within: Duration) -> Option<String> {
        let deadline = now() + within;
        loop {
            let left = deadline.saturating_duration_since(now());
            let request = self.requests.recv_timeout(left).ok()?;
            if parts.iter().all(|part| request.contains(part)) {
                return Some(request);
            }
        }
    }
}

/// Answers the requests of one connection, kept alive.
fn answer(mut stream: TcpStream, requests: &Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let _ = requests.send(std::mem::take(&mut line));
        let mut header = String::new();
        while reader.read_line(&mut header).is_ok_and(|bytes| bytes > 2) {
            header.clear();
        }
        let body = "d8:intervali1800e5:peers0:e";
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}
