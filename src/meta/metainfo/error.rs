//! What can be wrong with a .torrent file, each with the place and the cure.

use alloc::boxed::Box;

use crate::bencode::{self, Dict, Kind, List, Value};
use crate::geometry::GeometryError;
use crate::limits::{
    NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX, PIECE_BYTES_MAX, PIECE_BYTES_MIN_V2,
};

/// Why a .torrent file is refused. Offsets count bytes of the file, from 0.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetainfoError {
    /// It is no acceptable bencode.
    #[error(transparent)]
    Bencode(#[from] bencode::Error),
    /// A key that must be there is not.
    #[error("the dictionary at offset {offset} has no '{key}'")]
    Missing {
        /// The key.
        key: &'static str,
        /// Of the dictionary.
        offset: usize,
    },
    /// A value is of the wrong kind.
    #[error("{what} at offset {offset} is {found}; {needed} is needed")]
    WrongKind {
        /// What the value is for.
        what: &'static str,
        /// Of the value.
        offset: usize,
        /// What it is.
        found: Kind,
        /// What it should be.
        needed: Kind,
    },
    /// A length is negative.
    #[error("{what} {value} at offset {offset}; it cannot be negative")]
    Negative {
        /// What the value is for.
        what: &'static str,
        /// As read.
        value: i64,
        /// Of the value.
        offset: usize,
    },
    /// The info dictionary has neither `pieces` nor `meta version`.
    #[error(
        "the info dictionary at offset {offset} has neither 'pieces' (v1) nor 'meta version' (v2)"
    )]
    NeitherFormat {
        /// Of the info dictionary.
        offset: usize,
    },
    /// BEP 52: clients must say that a torrent is newer than they are.
    #[error("meta version {} at offset {offset}; this program reads 1 and 2", DisplayInt(*version))]
    Version {
        /// As read, if it is an integer.
        version: Option<i64>,
        /// Of the value.
        offset: usize,
    },
    /// The piece length of a v1 torrent is out of range.
    #[error(
        "piece length {length} at offset {offset}; between 1 and {PIECE_BYTES_MAX} bytes are needed"
    )]
    PieceLengthV1 {
        /// As read.
        length: i64,
        /// Of the value.
        offset: usize,
    },
    /// The piece length of a v2 torrent is no power of two in range.
    #[error(
        "piece length {length} at offset {offset}; a power of two from {PIECE_BYTES_MIN_V2} to \
         {PIECE_BYTES_MAX} is needed"
    )]
    PieceLengthV2 {
        /// As read.
        length: i64,
        /// Of the value.
        offset: usize,
    },
    /// There are not 20 bytes of hash for each piece.
    #[error(
        "'pieces' at offset {offset} has {bytes} bytes; {piece_count} pieces of 20 bytes are needed"
    )]
    PiecesLength {
        /// As read.
        bytes: usize,
        /// Pieces that the files make.
        piece_count: u32,
        /// Of the value.
        offset: usize,
    },
    /// Files and piece length make no torrent, or one past the limits.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A name is unfit for a path.
    #[error("file name '{name}' at offset {offset} {fault}")]
    Name {
        /// As read, control characters escaped, cut when long.
        name: Box<str>,
        /// Of the name.
        offset: usize,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// A file has no path, or one too deep or too long.
    #[error(
        "the path at offset {offset} has {depth} names and {bytes} bytes; 1 to {PATH_DEPTH_MAX} \
         names and at most {PATH_BYTES_MAX} bytes are supported"
    )]
    Path {
        /// Names in the path.
        depth: usize,
        /// Bytes of the path.
        bytes: usize,
        /// Of the path.
        offset: usize,
    },
    /// Two files have one path, or a file stands where another needs a folder.
    #[error("the paths '{first}' and '{second}' collide; each file needs a place of its own")]
    Collision {
        /// The one.
        first: Box<str>,
        /// The other.
        second: Box<str>,
    },
    /// A symbolic link has bytes (BEP 47: its length is always zero).
    #[error("the symlink at offset {offset} has {length} bytes; it must have none")]
    SymlinkWithBytes {
        /// As read.
        length: u64,
        /// Of the file's dictionary.
        offset: usize,
    },
    /// An entry of the file tree is a file and a folder at once (BEP 52).
    #[error("the file tree has a file with siblings or as its root at offset {offset}")]
    FileWithSiblings {
        /// Of the dictionary.
        offset: usize,
    },
    /// A file that is not empty has no valid root.
    #[error("the file at offset {offset} needs a 'pieces root' of 32 bytes")]
    PiecesRoot {
        /// Of the file's properties.
        offset: usize,
    },
    /// A file of more than one piece has no layer.
    #[error("'piece layers' has no entry for '{path}', which is longer than a piece")]
    LayerMissing {
        /// The file.
        path: Box<str>,
    },
    /// A layer has not 32 bytes for each piece of its file.
    #[error("the piece layer of '{path}' has {bytes} bytes; {needed} are needed")]
    LayerLength {
        /// The file.
        path: Box<str>,
        /// As read.
        bytes: usize,
        /// 32 for each piece.
        needed: u64,
    },
    /// A layer does not fold up to the root in the info dictionary.
    #[error("the piece layer of '{path}' does not match its 'pieces root'")]
    LayerMismatch {
        /// The file.
        path: Box<str>,
    },
    /// BEP 52: both halves of a hybrid must describe the same files.
    #[error("the v1 and v2 halves of this hybrid differ at '{path}': {what}")]
    HybridMismatch {
        /// The first file that differs; empty when it is no single file.
        path: Box<str>,
        /// In what.
        what: &'static str,
    },
}

/// What makes a name unfit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameFault {
    /// No bytes. Also how absolute paths look.
    #[error("is empty; a name is needed")]
    Empty,
    /// `.` or `..`.
    #[error("would leave its folder; a plain name is needed")]
    Dots,
    /// `/` within a name.
    #[error("contains '/'; each folder needs an element of its own")]
    Separator,
    /// A zero byte.
    #[error("contains a zero byte")]
    Nul,
    /// More bytes than a file system takes.
    #[error("has {0} bytes; at most {NAME_BYTES_MAX} fit a file system")]
    TooLong(usize),
}

/// What was odd in a .torrent file but did no harm.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Warning {
    /// BEP 3 demands sorted keys; the hash is over the bytes as they are.
    #[error("dictionary keys are not sorted (first at offset {offset}); read as they stand")]
    UnsortedKeys {
        /// Of the first such key.
        offset: usize,
    },
    /// Bytes behind the outer dictionary.
    #[error("{count} bytes behind the end at offset {offset} ignored")]
    TrailingBytes {
        /// Where they begin.
        offset: usize,
        /// How many.
        count: usize,
    },
    /// A name had bytes that are no UTF-8; each became `_`.
    #[error("the name at offset {offset} is no UTF-8; read as '{name}'")]
    NotUtf8 {
        /// Of the name.
        offset: usize,
        /// As it is used.
        name: Box<str>,
    },
    /// A symbolic link is listed; it is neither made nor followed.
    #[error("the symlink '{path}' is ignored")]
    Symlink {
        /// Where it would stand.
        path: Box<str>,
    },
    /// An optional value has the wrong kind, is too long or one too many.
    #[error("'{key}' at offset {offset} is unusable and ignored")]
    Ignored {
        /// The key.
        key: &'static str,
        /// Of the value.
        offset: usize,
    },
}

struct DisplayInt(Option<i64>);

impl core::fmt::Display for DisplayInt {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("that is no integer"),
        }
    }
}

fn wrong(value: Value<'_>, what: &'static str, needed: Kind) -> MetainfoError {
    MetainfoError::WrongKind { what, offset: value.offset(), found: value.kind(), needed }
}

pub(super) fn need_dict<'d>(v: Value<'d>, what: &'static str) -> Result<Dict<'d>, MetainfoError> {
    v.as_dict().ok_or_else(|| wrong(v, what, Kind::Dict))
}

pub(super) fn need_list<'d>(v: Value<'d>, what: &'static str) -> Result<List<'d>, MetainfoError> {
    v.as_list().ok_or_else(|| wrong(v, what, Kind::List))
}

pub(super) fn need_bytes<'d>(v: Value<'d>, what: &'static str) -> Result<&'d [u8], MetainfoError> {
    v.as_bytes().ok_or_else(|| wrong(v, what, Kind::String))
}

pub(super) fn need_uint(v: Value<'_>, what: &'static str) -> Result<u64, MetainfoError> {
    let value = v.as_int().ok_or_else(|| wrong(v, what, Kind::Integer))?;
    let offset = v.offset();
    u64::try_from(value).map_err(|_| MetainfoError::Negative { what, value, offset })
}
