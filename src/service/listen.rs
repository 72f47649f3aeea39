//! Listening sockets, one for each address and worker, with the options that accepted sockets
//! inherit, so that accepting costs no further call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

pub mod limits {
    //! What every accepted socket is given.

    /// Bytes not sent that a socket holds before it says that it is full: two of the largest
    /// batches. At 128 KiB nine of ten batches were partial and a third of the speed was lost.
    pub const NOTSENT_LOWAT_BYTES: u32 = 1 << 20;
    /// Seconds without acknowledgement after which the kernel gives a peer up; each of its
    /// unacknowledged bytes pins a page.
    pub const USER_TIMEOUT_S: u64 = 45;
    /// Connections that wait to be accepted, for each listener.
    pub const BACKLOG: i32 = 4096;
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot listen on {address}: the port is in use; stop the other program or give --listen another port (0 picks a free one)"
    )]
    InUse { address: SocketAddr },
    #[error(
        "cannot use congestion control '{name}': {source}; 'sysctl net.ipv4.tcp_available_congestion_control' lists what this host has"
    )]
    Congestion { name: String, source: io::Error },
    #[error("cannot listen on {address}: {source}")]
    Other { address: SocketAddr, source: io::Error },
}

/// Listeners of one address, one for each worker, and the address they really have.
#[derive(Debug)]
pub struct Listeners {
    pub address: SocketAddr,
    pub sockets: Vec<OwnedFd>,
}

/// Listens on `address` for `workers` workers; port 0 picks a free one for all of them.
pub fn listen(
    address: SocketAddr,
    workers: usize,
    congestion: Option<&str>,
) -> Result<Listeners, ListenError> {
    // SO_REUSEPORT would let a second program of the same user share the port in silence: a
    // first socket without it finds out, and says which port 0 becomes.
    let probe = bound(address, false).map_err(|source| explain(address, source))?;
    let address = local(&probe, address)?;
    drop(probe);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = bound(address, true).map_err(|source| explain(address, source))?;
        if let Some(name) = congestion {
            socket
                .set_tcp_congestion(name.as_bytes())
                .map_err(|source| ListenError::Congestion { name: name.to_owned(), source })?;
        }
        prepare(&socket).map_err(|source| ListenError::Other { address, source })?;
        sockets.push(socket.into());
    }
    Ok(Listeners { address, sockets })
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    if !shared {
        // Binding with SO_REUSEADDR succeeds beside a listener; listening does not.
        socket.listen(1)?;
    }
    Ok(socket)
}

fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(limits::USER_TIMEOUT_S)))?;
    socket.set_tcp_notsent_lowat(limits::NOTSENT_LOWAT_BYTES)?;
    socket.listen(limits::BACKLOG)
}

fn local(socket: &Socket, asked: SocketAddr) -> Result<SocketAddr, ListenError> {
    let address = socket.local_addr().map_err(|source| explain(asked, source))?;
    Ok(address.as_socket().unwrap_or(asked))
}

fn explain(address: SocketAddr, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::Other { address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn all_workers_share_the_port_that_0_became() {
        let listeners = listen((Ipv4Addr::LOCALHOST, 0).into(), 3, None).unwrap();
        assert_eq!(listeners.sockets.len(), 3);
        assert_ne!(listeners.address.port(), 0);
    }

    #[test]
    fn a_port_that_is_in_use_is_an_error_even_with_reuse_port() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let error = listen(address, 2, None).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        let ours = listen((Ipv4Addr::LOCALHOST, 0).into(), 2, None).unwrap();
        let error = listen(ours.address, 2, None).unwrap_err();
        assert!(error.to_string().contains(&ours.address.to_string()), "{error}");
    }

    #[test]
    fn an_unknown_congestion_control_is_named() {
        let error = listen((Ipv4Addr::LOCALHOST, 0).into(), 1, Some("nonesuch")).unwrap_err();
        assert!(error.to_string().contains("nonesuch"), "{error}");
    }
}
