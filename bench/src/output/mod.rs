//! Results in all their forms: `result.json`, the interval log and percentile files of HdrHistogram,
//! pages for a browser, text for a terminal. docs/reports.md describes the files.

mod compare;
mod derived;
mod doubts;
mod hgrm;
mod hlog;
mod html;
mod naming;
mod plots;
mod progress;
mod read;
mod remarks;
mod summary;
mod units;

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub use compare::{Comparison, compare};
pub use html::{page, page_of_many};
pub use progress::Progress;
pub use read::{read, report_main};
pub use summary::summary;

use crate::results::Results;

/// Writes all files of a run into `dir`, which is made where it does not exist, and returns their
/// paths, `result.json` first. Each appears whole or not at all; files of an earlier run that this
/// one has no name for stay.
pub fn write(dir: &Path, results: &Results) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the folder '{}' for reports", dir.display()))?;
    let mut written = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        put_whole(&path, bytes).with_context(|| format!("cannot write '{}'", path.display()))?;
        written.push(path);
        anyhow::Ok(())
    };
    let mut json = serde_json::to_vec_pretty(results).context("cannot make result.json")?;
    json.push(b'\n');
    put("result.json", &json)?;
    put("latency.hlog", &hlog::text(results).context("cannot make latency.hlog")?)?;
    let mut names = naming::Names::default();
    for recorded in naming::recorded(results) {
        let name = format!("{}.hgrm", names.take(&recorded, "-"));
        put(&name, hgrm::text(&recorded.distribution.total).as_bytes())?;
    }
    put("report.html", page(results).context("cannot make report.html")?.as_bytes())?;
    Ok(written)
}

/// Writes a file beside its place, then moves it there.
fn put_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Readable like any other new file: the process's umask applies.
    let mut file = tempfile::Builder::new()
        .prefix(".report-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
