//! A small HTTP tracker that does what a test says, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What it does with a request.
pub(super) enum Answer {
    /// A status line with the headers it needs, and a body.
    Status(&'static str, Vec<u8>),
    /// These bytes, whatever they are; then the connection is closed.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Silence,
}

/// An answer that any client takes: no peers, half an hour.
pub(super) fn fine() -> Answer {
    Answer::Status("200 OK", b"d8:intervali1800e5:peers0:e".to_vec())
}

pub(super) fn moved(location: &str) -> Answer {
    Answer::Raw(
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
            .into_bytes(),
    )
}

type Behaviour = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

#[derive(Default)]
pub(super) struct Seen {
    /// Request targets in their order.
    pub(super) targets: Mutex<Vec<String>>,
    pub(super) heads: Mutex<Vec<String>>,
    pub(super) connections: AtomicUsize,
    now: AtomicUsize,
    /// Requests under way at once, at most.
    pub(super) most: AtomicUsize,
}

pub(super) struct HttpTracker {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
}

impl HttpTracker {
    pub(super) async fn start(
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> HttpTracker {
        HttpTracker::listen("127.0.0.1:0", None, answer).await.unwrap()
    }

    pub(super) async fn listen(
        address: &str,
        tls: Option<tokio_rustls::TlsAcceptor>,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> std::io::Result<HttpTracker> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let (answer, served): (Behaviour, _) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // No delays of real time: virtual time would run away meanwhile.
                socket.set_nodelay(true).unwrap();
                served.connections.fetch_add(1, Ordering::Relaxed);
                let (seen, answer, tls) = (Arc::clone(&served), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, &seen, &answer).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(socket) => serve(socket, &seen, &answer).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Ok(HttpTracker { address, seen })
    }

    pub(super) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    pub(super) fn targets(&self) -> Vec<String> {
        self.seen.targets.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.seen.targets.lock().unwrap().len()
    }
}

/// Serves one connection; `None` when it is over.
async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Seen,
    answer: &Behaviour,
) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let target = head.split(' ').nth(1)?.to_owned();
        seen.targets.lock().unwrap().push(target.clone());
        seen.heads.lock().unwrap().push(head);
        let now = seen.now.fetch_add(1, Ordering::Relaxed) + 1;
        seen.most.fetch_max(now, Ordering::Relaxed);
        // Others get their turn: what may be under way at once is.
        tokio::time::sleep(Duration::from_millis(20)).await;
        match answer(&target) {
            Answer::Status(status, body) => {
                let length = body.len();
                let mut bytes =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
                bytes.extend(body);
                socket.write_all(&bytes).await.ok()?;
                socket.flush().await.ok()?;
            }
            Answer::Raw(bytes) => {
                socket.write_all(&bytes).await.ok()?;
                seen.now.fetch_sub(1, Ordering::Relaxed);
                socket.shutdown().await.ok()?;
                return None;
            }
            Answer::Silence => std::future::pending().await,
        }
        seen.now.fetch_sub(1, Ordering::Relaxed);
    }
}
