//! How many connections a process has at its port, from `/proc/PID/net/tcp` and `tcp6`: those of
//! its network namespace, whoever made them.
//!
//! The kernel walks all sockets of the namespace for it, so it is asked between phases only.

use super::read;

/// Established, and closed by the other side but not by this one: what a program holds on to.
/// (Numbers of the kernel's TCP states, as the files have them.)
const HELD: [&str; 2] = ["01", "08"];

/// Counts them in the text of one of the files.
fn held(table: &str, port: u16) -> u64 {
    let local_port = format!(":{port:04X}");
    let is_held = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&local_port));
        local && fields.nth(1).is_some_and(|state| HELD.contains(&state))
    };
    table.lines().filter(is_held).count() as u64
}

/// Connections at `port` in the namespace of process `pid`. None: not ours to read.
pub fn connections(pid: u32, port: u16) -> Option<u64> {
    let of = |file| read(&format!("/proc/{pid}/net/{file}")).ok().map(|table| held(&table, port));
    // Without IPv6 the second file does not exist.
    Some(of("tcp")? + of("tcp6").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_connections_held_at_the_port_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000
   1: 0101007F:07E8 0100007F:89B5 01 00000000:00000000
   2: 0101007F:07E8 0100007F:89B6 08 00000000:00000000
   3: 0101007F:07E8 0100007F:89B7 06 00000000:00000000
   4: 0101007F:89B5 0100007F:07E8 01 00000000:00000000
   5: 0000000000000000FFFF00000100007F:07E8 0000000000000000FFFF00000100007F:1 01 0\n";
        assert_eq!(held(table, 0x07e8), 3);
        assert_eq!((held(table, 0x7e8f), held("", 1)), (0, 0));
    }

    #[test]
    fn a_listener_holds_what_it_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (pid, port) = (std::process::id(), address.port());
        assert_eq!(connections(pid, port), Some(0));
        let _held: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(connections(pid, port), Some(3));
    }
}
