//! A list of infohashes as text.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use ringseed_meta::{InfoHash, InfoHashV2};

use super::Torrents;
use crate::limits;

/// Why a list is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("list {}: cannot be read: {cause}; name a file that this user may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A line is no infohash.
    #[error("list {}: line {line} is no infohash: write 40 hexadecimal digits, or 64 of a v2 \
             torrent, and comments behind a space or a #", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// There are too many.
    #[error("list {}: more than {most} torrents: shorten it", path.display(),
        most = limits::LISTED_TORRENTS_MAX)]
    TooMany {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with a text, without its path.
#[derive(Debug)]
pub(super) enum Wrong {
    Read(io::Error),
    Line(usize),
    TooMany,
}

impl Wrong {
    pub(super) fn of(self, path: PathBuf) -> ListError {
        match self {
            Wrong::Read(cause) => ListError::Read { path, cause },
            Wrong::Line(line) => ListError::Line { path, line },
            Wrong::TooMany => ListError::TooMany { path },
        }
    }
}

/// Reads a list of at most `torrents_max` torrents, a line at a time.
pub(super) fn read(mut text: impl BufRead, torrents_max: usize) -> Result<Torrents, Wrong> {
    let mut torrents = Torrents::new();
    let mut line = Vec::with_capacity(limits::LIST_LINE_BYTES_MAX + 1);
    for number in 1.. {
        line.clear();
        let mut rest = (&mut text).take(limits::LIST_LINE_BYTES_MAX as u64 + 1);
        let bytes = rest.read_until(b'\n', &mut line).map_err(Wrong::Read)?;
        if bytes == 0 {
            break;
        }
        if bytes > limits::LIST_LINE_BYTES_MAX {
            return Err(Wrong::Line(number));
        }
        let line = line.trim_ascii();
        let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        if word.is_empty() || word.first() == Some(&b'#') {
            continue;
        }
        torrents.insert(info_hash(word).ok_or(Wrong::Line(number))?);
        if torrents.len() > torrents_max {
            return Err(Wrong::TooMany);
        }
    }
    torrents.shrink_to_fit();
    Ok(torrents)
}

fn info_hash(word: &[u8]) -> Option<InfoHash> {
    match word.len() {
        40 => bytes(word).map(InfoHash),
        64 => bytes(word).map(|bytes| InfoHashV2(bytes).truncated()),
        _ => None,
    }
}

fn bytes<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = hex.as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MANY: usize = 1000;

    fn sorted(text: &str) -> Vec<InfoHash> {
        let mut read: Vec<_> = read(text.as_bytes(), MANY).unwrap().into_iter().collect();
        read.sort_unstable();
        read
    }

    #[test]
    fn a_list_has_an_infohash_a_line_and_whatever_people_write_beside() {
        let (one, two) = ("01".repeat(20), "aB".repeat(32));
        let text = format!("# mine\n\n{one}  a name\r\n\t{two}\t# v2\n{one}\n   \n#{two}");
        assert_eq!(sorted(&text), [InfoHash([1; 20]), InfoHash([0xab; 20])]);
        assert_eq!(sorted(&one), [InfoHash([1; 20])], "the last line may have no end");
        assert_eq!(sorted(""), []);
    }

    #[test]
    fn a_line_that_is_no_infohash_is_named() {
        let good = "01".repeat(20);
        let long = "x".repeat(limits::LIST_LINE_BYTES_MAX);
        for bad in ["0".repeat(39), "0".repeat(41), "g0".repeat(20), format!("{good} {long}")] {
            let text = format!("{good}\n# a comment\n{bad}\n{good}\n");
            assert!(matches!(read(text.as_bytes(), MANY), Err(Wrong::Line(3))), "{bad}");
        }
    }

    #[test]
    fn a_list_is_bounded() {
        let text: String = (0..4).map(|number| format!("{number:040x}\n")).collect();
        assert_eq!(read(text.as_bytes(), 4).unwrap().len(), 4);
        assert!(matches!(read(text.as_bytes(), 3), Err(Wrong::TooMany)));
        let same = format!("{0}\n{0}\n", "0".repeat(40));
        assert_eq!(read(same.as_bytes(), 1).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(hashes in proptest::collection::btree_set(any::<[u8; 20]>(), 0..40)) {
            let hex = |hash: &[u8; 20]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let text: Vec<_> = hashes.iter().map(hex).collect();
            let expected: Vec<_> = hashes.into_iter().map(InfoHash).collect();
            prop_assert_eq!(sorted(&text.join("\n")), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read(bytes.as_slice(), MANY);
        }
    }
}
