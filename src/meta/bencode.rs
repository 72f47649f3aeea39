//! Bencode (BEP 3): a bounded reader over borrowed bytes, and a [`Writer`].
//!
//! [`parse`] walks the input once, without recursion, and keeps for each value only where it
//! stands, so a byte string is never copied and any value can be handed on exactly as it was read:
//! [`Value::raw`] of `info` is what an infohash is made of. Integers and lengths must be written
//! in the one canonical way, a key may stand in a dictionary once. Unsorted keys are read, since
//! real .torrent files have them; [`Document::unsorted_key`] tells where.

mod parser;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests index what they made")]
mod tests;
mod writer;

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

pub use writer::{DictWriter, Writer};

/// How much a reader is willing to read. Every source of bencode names its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of input, counted before anything is read. At most `u32::MAX`.
    pub bytes_max: usize,
    /// Lists and dictionaries within each other.
    pub depth_max: usize,
    /// Values of all kinds, keys included. Each costs 16 bytes while the [`Document`] lives.
    pub values_max: usize,
}

/// Why bytes are no acceptable bencode, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bencode is broken at byte {offset}: {fault}")]
pub struct Error {
    /// Position in the input, from 0.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with bencode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The input is longer than [`Limits::bytes_max`].
    #[error("the input has {bytes} bytes; at most {limit} are read")]
    TooManyBytes {
        /// Length of the input.
        bytes: usize,
        /// What was allowed.
        limit: usize,
    },
    /// More containers are open than [`Limits::depth_max`].
    #[error("lists and dictionaries are nested deeper than {limit}")]
    TooDeep {
        /// What was allowed.
        limit: usize,
    },
    /// There are more values than [`Limits::values_max`].
    #[error("there are more than {limit} values")]
    TooManyValues {
        /// What was allowed.
        limit: usize,
    },
    /// The input ends within a value.
    #[error("the input ends in the middle of a value")]
    Truncated,
    /// A byte string is announced that is longer than what is left.
    #[error("a string of {length} bytes is announced, but only {left} bytes follow")]
    StringPastEnd {
        /// Bytes announced.
        length: u64,
        /// Bytes left in the input.
        left: usize,
    },
    /// No value starts with this byte.
    #[error("byte {0:#04x} starts no value; expected one of 'i', 'l', 'd' or a digit")]
    UnexpectedByte(u8),
    /// An integer or a string length has no digits, a leading zero, a minus before zero or a plus.
    #[error("a number is not canonical; decimal digits without leading zeros are needed")]
    NumberNotCanonical,
    /// An integer does not fit 64 bits with sign, or a length does not fit 64 bits.
    #[error("a number does not fit into 64 bits")]
    NumberTooLarge,
    /// A key is not a byte string.
    #[error("a dictionary key is not a string")]
    KeyNotString,
    /// A dictionary ends after a key.
    #[error("a dictionary key has no value")]
    ValueMissing,
    /// A key stands twice in one dictionary.
    #[error("a dictionary key stands there for the second time")]
    DuplicateKey,
    /// Bytes follow the value. Only [`parse`] minds, [`parse_prefix`] does not.
    #[error("{0} bytes follow the end of the value")]
    TrailingBytes(usize),
}

/// Reads one value that fills the input.
///
/// # Errors
/// [`Error`] with the offset of the first byte that cannot be accepted.
pub fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Document<'a>, Error> {
    let document = parse_prefix(bytes, limits)?;
    let end = document.end();
    match bytes.len().saturating_sub(end) {
        0 => Ok(document),
        left => Err(Error { offset: end, fault: Fault::TrailingBytes(left) }),
    }
}

/// Reads one value at the start of the input; [`Document::end`] tells where it ends
/// (BEP 9: a metadata message is a dictionary with raw bytes behind it).
///
/// # Errors
/// As [`parse`], but bytes behind the value are fine.
pub fn parse_prefix<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Document<'a>, Error> {
    parser::Parser::new(bytes, *limits)?.run()
}

/// What was read: the input, and where each value stands in it.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    bytes: &'a [u8],
    /// All values in the order of their first bytes: a container before its contents.
    nodes: Vec<Node>,
    unsorted_key: Option<usize>,
}

/// One value. `u32` suffices: the input is at most `u32::MAX` bytes, and a value takes two.
#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    start: u32,
    end: u32,
    /// Of a string: where its contents start. Of any other: the node that follows it and all
    /// it contains.
    link: u32,
}

/// The four kinds of value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `i42e`
    Integer,
    /// `4:spam`
    String,
    /// `l4:spame`
    List,
    /// `d3:cow3:mooe`
    Dict,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Integer => "an integer",
            Kind::String => "a string",
            Kind::List => "a list",
            Kind::Dict => "a dictionary",
        })
    }
}

impl Document<'_> {
    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value { bytes: self.bytes, nodes: &self.nodes, at: 0 }
    }

    /// Offset of the first byte behind the outermost value.
    pub fn end(&self) -> usize {
        self.root().range().end
    }

    /// Offset of the first key that is smaller than the key before it, if there is one: BEP 3
    /// forbids that, but some .torrent files have it.
    pub fn unsorted_key(&self) -> Option<usize> {
        self.unsorted_key
    }
}

/// One value of a [`Document`]. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Value<'d> {
    bytes: &'d [u8],
    nodes: &'d [Node],
    at: usize,
}

impl<'d> Value<'d> {
    fn node(&self) -> Node {
        // `at` is the index of a node by construction; the default keeps this free of panics.
        self.nodes.get(self.at).copied().unwrap_or(Node {
            kind: Kind::String,
            start: 0,
            end: 0,
            link: 0,
        })
    }

    /// The value behind this one and all it contains.
    fn next(&self) -> Value<'d> {
        let node = self.node();
        let at = match node.kind {
            Kind::String => self.at.saturating_add(1),
            _ => node.link as usize,
        };
        Value { at, ..*self }
    }

    /// Which of the four it is.
    pub fn kind(&self) -> Kind {
        self.node().kind
    }

    /// Where it stands in the input.
    pub fn range(&self) -> Range<usize> {
        let node = self.node();
        node.start as usize..node.end as usize
    }

    /// Offset of its first byte in the input, for messages.
    pub fn offset(&self) -> usize {
        self.range().start
    }

    /// The value as it was written.
    pub fn raw(&self) -> &'d [u8] {
        self.bytes.get(self.range()).unwrap_or_default()
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        let node = self.node();
        if node.kind != Kind::Integer {
            return None;
        }
        let digits = self.raw().strip_prefix(b"i")?.strip_suffix(b"e")?;
        core::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The integer, if it is one and not negative.
    pub fn as_uint(&self) -> Option<u64> {
        self.as_int().and_then(|value| u64::try_from(value).ok())
    }

    /// The contents of the string, if it is one.
    pub fn as_bytes(&self) -> Option<&'d [u8]> {
        self.bytes.get(self.contents()?)
    }

    /// Where the contents of the string stand in the input, if it is one.
    pub fn contents(&self) -> Option<Range<usize>> {
        let node = self.node();
        (node.kind == Kind::String).then_some(node.link as usize..node.end as usize)
    }

    /// The contents of the string, if it is one and valid UTF-8.
    pub fn as_str(&self) -> Option<&'d str> {
        core::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<List<'d>> {
        (self.kind() == Kind::List).then_some(List(*self))
    }

    /// The dictionary, if it is one.
    pub fn as_dict(&self) -> Option<Dict<'d>> {
        (self.kind() == Kind::Dict).then_some(Dict(*self))
    }

    /// The value of a key, if this is a dictionary that has it.
    pub fn get(&self, key: &[u8]) -> Option<Value<'d>> {
        self.as_dict()?.get(key)
    }

    /// What a container contains, in order; keys and values in turn.
    fn children(&self) -> Children<'d> {
        let end = self.next().at;
        Children { next: Value { at: self.at.saturating_add(1), ..*self }, end }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}: {}", self.kind(), self.range(), self.raw().escape_ascii())
    }
}

#[derive(Clone)]
struct Children<'d> {
    next: Value<'d>,
    end: usize,
}

impl<'d> Iterator for Children<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Value<'d>> {
        if self.next.at >= self.end {
            return None;
        }
        let value = self.next;
        self.next = value.next();
        Some(value)
    }
}

/// A list of a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct List<'d>(Value<'d>);

impl<'d> List<'d> {
    /// Its values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'d>> + Clone + use<'d> {
        self.0.children()
    }
}

/// A dictionary of a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct Dict<'d>(Value<'d>);

impl<'d> Dict<'d> {
    /// Keys and values, in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&'d [u8], Value<'d>)> + Clone + use<'d> {
        let mut children = self.0.children();
        core::iter::from_fn(move || Some((children.next()?.as_bytes()?, children.next()?)))
    }

    /// The value of a key. Looks at each key: meant for dictionaries of a few keys.
    pub fn get(&self, key: &[u8]) -> Option<Value<'d>> {
        self.iter().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The dictionary as a value, for its range and raw bytes.
    pub fn value(&self) -> Value<'d> {
        self.0
    }
}
