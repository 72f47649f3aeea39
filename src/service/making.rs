//! Metainfo for plain data: made once, kept in the state folder, made again when the data changed.

use std::path::{Path, PathBuf};

use super::state::StateFolder;
use super::{Event, Options, ServiceError};

/// The .torrent file and the root of plain data.
pub(super) fn torrent_for(
    data: &Path,
    _options: &Options,
    _state: &StateFolder,
    _announce_url: Option<&str>,
    _on_event: &mut dyn FnMut(Event),
) -> Result<(PathBuf, PathBuf), ServiceError> {
    Err(ServiceError::Create { path: data.to_owned(), message: "not built".into() })
}
