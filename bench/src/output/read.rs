//! `result.json` files read back, and `ringseed-swarm report`, which shows them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::{compare, page, page_of_many, put_whole, summary};
use crate::limits::{REPORT_RUNS_MAX, RESULT_BYTES_MAX};
use crate::results::{Results, SCHEMA};

/// What all versions of the file have.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

/// Reads a file of this program's schema.
pub fn read(path: &Path) -> anyhow::Result<Results> {
    read_bounded(path, RESULT_BYTES_MAX)
        .with_context(|| format!("cannot read '{}' as results", path.display()))
}

fn read_bounded(path: &Path, bytes_max: u64) -> anyhow::Result<Results> {
    let mut bytes = Vec::new();
    // One byte more tells a file of that size from a longer one; what stat says may be outdated.
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        bail!("more than {bytes_max} bytes, the most that is read: make the run shorter");
    }
    let needed = "a result.json that ringseed-swarm has written";
    let head: Head = serde_json::from_slice(&bytes)
        .with_context(|| format!("it is no JSON object; {needed} is needed"))?;
    match head.schema.as_deref() {
        Some(SCHEMA) => {}
        Some(other) => bail!(
            "its schema is '{other}', this program reads '{SCHEMA}': use the version that wrote \
             it, or run the load again"
        ),
        None => bail!("it has no 'schema', which should be '{SCHEMA}'; {needed} is needed"),
    }
    serde_json::from_slice(&bytes)
        .with_context(|| format!("it says that it is '{SCHEMA}', but breaks that schema"))
}

/// Shows one run, or several side by side: text on stdout, and a page in `out` if named.
pub fn report_main(paths: &[PathBuf], out: Option<&Path>) -> anyhow::Result<()> {
    if paths.is_empty() || paths.len() > REPORT_RUNS_MAX {
        bail!("{} files of results; 1 to {REPORT_RUNS_MAX} can be shown", paths.len());
    }
    let runs = paths.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let (text, html) = match runs.as_slice() {
        [only] => (summary(only).to_string(), out.map(|_| page(only))),
        many => {
            let comparison = compare(many)?;
            (comparison.to_string(), out.map(|_| page_of_many(many, &comparison)))
        }
    };
    // First what outlives a stdout that is full or closed.
    if let (Some(out), Some(html)) = (out, html) {
        put_whole(out, html?.as_bytes())
            .with_context(|| format!("cannot write '{}'", out.display()))?;
    }
    writeln!(std::io::stdout(), "{text}").context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &[u8], bytes_max: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, text).unwrap();
        format!("{:#}", read_bounded(&path, bytes_max).unwrap_err())
    }

    #[test]
    fn what_is_no_result_is_refused_with_what_was_found_and_what_is_needed() {
        let found = error_of(b"{\"schema\": \"ringseed-swarm/0\"}", 100);
        assert!(found.contains("'ringseed-swarm/0'") && found.contains("'ringseed-swarm/1'"));
        let found = error_of(b"{}", 100);
        assert!(found.contains("no 'schema'") && found.contains("'ringseed-swarm/1'"), "{found}");
        let found = error_of(b"{\"schema\": ", 100);
        assert!(found.contains("line 1 column"), "{found}");
        let found = error_of(b"{\"schema\": \"ringseed-swarm/1\"}", 100);
        assert!(found.contains("missing field `program`"), "{found}");
        assert!(error_of(&[b' '; 101], 100).contains("more than 100 bytes"));
        let missing = format!("{:#}", read(Path::new("no-such-file.json")).unwrap_err());
        assert!(missing.starts_with("cannot read 'no-such-file.json' as results: "), "{missing}");
    }

    #[test]
    fn the_number_of_files_has_a_bound() {
        let why = report_main(&vec![PathBuf::new(); REPORT_RUNS_MAX + 1], None).unwrap_err();
        assert!(why.to_string().contains("1 to"), "{why}");
        assert!(report_main(&[], None).is_err());
    }
}
