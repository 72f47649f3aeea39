//! Names from outside become path elements here, or errors.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::error::need_bytes;
use super::{MetainfoError, NameFault, Warning, Warnings};
use crate::Geometry;
use crate::bencode::Value;
use crate::geometry::FileKind;
use crate::limits::NAME_BYTES_MAX;

/// Appends a name that can be one element of a path.
pub(super) fn push_clean(
    path: &mut String,
    value: Value<'_>,
    warnings: &mut Warnings,
) -> Result<(), MetainfoError> {
    push_clean_bytes(path, need_bytes(value, "a file name")?, value.offset(), warnings)
}

/// As [`push_clean`], for the keys of a file tree.
pub(super) fn push_clean_bytes(
    path: &mut String,
    bytes: &[u8],
    offset: usize,
    warnings: &mut Warnings,
) -> Result<(), MetainfoError> {
    check_name(bytes).map_err(|fault| MetainfoError::Name {
        name: printable(bytes),
        offset,
        fault,
    })?;
    let start = path.len();
    for chunk in bytes.utf8_chunks() {
        path.push_str(chunk.valid());
        path.extend(chunk.invalid().iter().map(|_| '_'));
    }
    let name = path.get(start..).unwrap_or_default();
    if name.as_bytes() != bytes {
        warnings.push(Warning::NotUtf8 { offset, name: name.into() });
    }
    Ok(())
}

/// Whether a name can be one element of a path.
pub(super) fn check_name(name: &[u8]) -> Result<(), NameFault> {
    match name {
        b"" => Err(NameFault::Empty),
        b"." | b".." => Err(NameFault::Dots),
        _ if name.contains(&b'/') => Err(NameFault::Separator),
        _ if name.contains(&0) => Err(NameFault::Nul),
        _ if name.len() > NAME_BYTES_MAX => Err(NameFault::TooLong(name.len())),
        _ => Ok(()),
    }
}

fn printable(bytes: &[u8]) -> Box<str> {
    let shown = bytes.get(..bytes.len().min(NAME_BYTES_MAX)).unwrap_or_default();
    shown.escape_ascii().to_string().into_boxed_str()
}

/// Refuses two files with one path, and a file where another file needs a folder.
pub(super) fn refuse_collisions(geometry: &Geometry) -> Result<(), MetainfoError> {
    let mut paths: Vec<&str> =
        geometry.files().filter(|file| file.kind != FileKind::Pad).map(|file| file.path).collect();
    // Name by name, so that a file directly precedes what stands in a folder of its name.
    paths.sort_unstable_by(|one, two| one.split('/').cmp(two.split('/')));
    let collides = |first: &str, second: &str| {
        second.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for pair in paths.windows(2) {
        if let [first, second] = pair
            && collides(first, second)
        {
            let (first, second) = ((*first).into(), (*second).into());
            return Err(MetainfoError::Collision { first, second });
        }
    }
    Ok(())
}
