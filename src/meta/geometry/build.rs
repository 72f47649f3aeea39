//! Lays files out, one call each; every sum is checked here once.

use alloc::string::String;
use alloc::vec::Vec;

use super::{FileKind, Geometry, Layout, Slot};
use crate::limits::{FILES_MAX, PATHS_BYTES_MAX, PIECE_BYTES_MAX, PIECES_MAX};

/// Why files and piece length make no torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GeometryError {
    /// Zero or past the limit.
    #[error("piece length {0}; between 1 and {PIECE_BYTES_MAX} bytes are needed")]
    PieceLength(u64),
    /// More files than the limit.
    #[error("more than {FILES_MAX} files; split the torrent")]
    TooManyFiles,
    /// More pieces than the limit.
    #[error(
        "{pieces} pieces of {piece_length} bytes; at most {PIECES_MAX} are supported: use larger pieces"
    )]
    TooManyPieces {
        /// As many as the files need; saturated.
        pieces: u64,
        /// Bytes.
        piece_length: u32,
    },
    /// The paths together are longer than the limit.
    #[error("file paths of more than {PATHS_BYTES_MAX} bytes in all; use shorter or fewer")]
    PathsTooLong,
    /// No file has a byte.
    #[error("all files are empty: there is no piece to serve")]
    NoContent,
}

/// Collects the files of a torrent in their order.
#[derive(Debug)]
pub struct GeometryBuilder {
    piece_length: u32,
    layout: Layout,
    content_bytes: u64,
    end: u64,
    files: Vec<Slot>,
    paths: String,
}

impl GeometryBuilder {
    /// Starts with no file.
    ///
    /// # Errors
    /// [`GeometryError::PieceLength`].
    pub fn new(piece_length: u64, layout: Layout) -> Result<GeometryBuilder, GeometryError> {
        let accepted =
            u32::try_from(piece_length).ok().filter(|l| (1..=PIECE_BYTES_MAX).contains(l));
        let piece_length = accepted.ok_or(GeometryError::PieceLength(piece_length))?;
        let (files, paths) = (Vec::new(), String::new());
        Ok(GeometryBuilder { piece_length, layout, content_bytes: 0, end: 0, files, paths })
    }

    /// Appends a file. The path is taken as it is: names from outside go through
    /// [`crate::metainfo`] first. A pad needs none.
    ///
    /// # Errors
    /// The limits of files, pieces and paths, each as soon as it is passed.
    pub fn push(&mut self, path: &str, length: u64, kind: FileKind) -> Result<(), GeometryError> {
        if self.files.len() >= FILES_MAX {
            return Err(GeometryError::TooManyFiles);
        }
        if self.paths.len().saturating_add(path.len()) > PATHS_BYTES_MAX {
            return Err(GeometryError::PathsTooLong);
        }
        let piece_length = u64::from(self.piece_length);
        let offset = match self.layout {
            Layout::Aligned if length > 0 => {
                self.end.div_ceil(piece_length).saturating_mul(piece_length)
            }
            _ => self.end,
        };
        let end = offset.saturating_add(length);
        let pieces = end.div_ceil(piece_length);
        if pieces > u64::from(PIECES_MAX) {
            return Err(GeometryError::TooManyPieces { pieces, piece_length: self.piece_length });
        }
        self.paths.push_str(path);
        let path_end = u32::try_from(self.paths.len()).map_err(|_| GeometryError::PathsTooLong)?;
        self.files.push(Slot { offset, length, path_end, kind });
        self.end = end;
        if kind == FileKind::Content {
            self.content_bytes = self.content_bytes.saturating_add(length);
        }
        Ok(())
    }

    /// Bytes from here to the next piece: as long a pad lets the next file begin a piece.
    pub fn pad_bytes(&self) -> u64 {
        let piece_length = u64::from(self.piece_length);
        let aligned = self.end.div_ceil(piece_length).saturating_mul(piece_length);
        aligned.saturating_sub(self.end)
    }

    /// The finished map.
    ///
    /// # Errors
    /// [`GeometryError::NoContent`].
    pub fn finish(self) -> Result<Geometry, GeometryError> {
        let pieces = self.end.div_ceil(u64::from(self.piece_length));
        let piece_count = u32::try_from(pieces).unwrap_or(u32::MAX);
        if self.content_bytes == 0 {
            return Err(GeometryError::NoContent);
        }
        Ok(Geometry {
            piece_length: self.piece_length,
            piece_count,
            layout: self.layout,
            content_bytes: self.content_bytes,
            end: self.end,
            files: self.files.into_boxed_slice(),
            paths: self.paths.into_boxed_str(),
        })
    }
}
