//! What TCP holds in memory for all sockets of the machine, as /proc/net/sockstat tells: one short read
//! where asking each socket would be a thousand calls.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::limits::TCP_BYTES_UNTOLD_A_CORE;
use crate::{sys, system};

/// The open file. Each read from its start tells anew.
pub(crate) struct Sockstat {
    file: Option<File>,
    untold_bytes: u64,
}

impl Sockstat {
    pub(crate) fn open() -> Sockstat {
        Sockstat {
            file: File::open("/proc/net/sockstat").ok(),
            untold_bytes: system::cores() as u64 * TCP_BYTES_UNTOLD_A_CORE,
        }
    }

    /// See [`Kernel::tcp_bytes`](crate::Kernel::tcp_bytes).
    pub(crate) fn tcp_bytes(&self) -> Option<u64> {
        let mut text = [0; 512];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        let pages = tcp_pages(std::str::from_utf8(text.get(..length)?).ok()?)?;
        Some(pages * sys::page_bytes() as u64 + self.untold_bytes)
    }
}

/// "TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3": pages that were taken, for what is sent and received.
fn tcp_pages(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_from_the_line_of_tcp() {
        let text = "sockets: used 322\nTCP: inuse 290 orphan 0 tw 571 alloc 290 mem 195\n\
                    UDP: inuse 0 mem 169\nFRAG: inuse 0 memory 0\n";
        assert_eq!(tcp_pages(text), Some(195));
        assert_eq!(tcp_pages("UDP: inuse 0 mem 169\n"), None);
        assert_eq!(tcp_pages("TCP: inuse 290 mem\n"), None);
        assert_eq!(tcp_pages("TCP: inuse 290\n"), None);
    }

    #[test]
    fn this_system_tells() {
        let least = Sockstat::open().untold_bytes;
        assert!(Sockstat::open().tcp_bytes().unwrap() >= least && least >= TCP_BYTES_UNTOLD_A_CORE);
        assert_eq!(Sockstat { file: None, untold_bytes: 0 }.tcp_bytes(), None);
    }
}
