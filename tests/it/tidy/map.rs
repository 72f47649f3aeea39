//! The code map of ARCHITECTURE.md: every room has a section, every file a mention in it.

use super::{Finding, Source};

/// A room's section: its heading names a folder in backticks (`### \`src/meta\` ...`).
struct Section<'a> {
    folder: &'a str,
    line: usize,
    text: String,
}

fn sections(architecture: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut inside = false;
    for (index, line) in architecture.lines().enumerate() {
        if line.starts_with('#') {
            let folder = line.split('`').nth(1).filter(|_| line.starts_with("### `"));
            inside = folder.is_some();
            if let Some(folder) = folder {
                sections.push(Section { folder, line: index + 1, text: String::new() });
            }
        } else if inside && let Some(section) = sections.last_mut() {
            section.text.push_str(line);
            section.text.push('\n');
        }
    }
    sections
}

/// Files that need no mention: roots of modules, and tests that stand beside their subject.
fn is_mentioned_by_its_folder(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(name, "mod.rs" | "lib.rs" | "main.rs" | "tests.rs")
        || name.ends_with("_tests.rs")
        || path.contains("/tests/")
        || path.starts_with("tests/")
        || path.contains("/examples/")
        || path.starts_with("fuzz/")
}

/// Files that no section names, folders without a section, and names in a section that no file has.
pub(super) fn code_map(sources: &[Source], architecture: &Source) -> Vec<Finding> {
    let sections = sections(&architecture.text);
    let mut findings = Vec::new();
    let mut report = |file: &str, line: usize, cure: String| {
        findings.push(Finding {
            file: file.into(),
            line,
            rule: "the-code-map-names-every-file",
            cure,
        });
    };
    for source in sources.iter().filter(|source| !is_mentioned_by_its_folder(&source.path)) {
        let room = sections
            .iter()
            .filter(|section| source.path.starts_with(&format!("{}/", section.folder)))
            .max_by_key(|section| section.folder.len());
        let Some(room) = room else {
            report(&source.path, 0, "no section of ARCHITECTURE.md names its room: add one".into());
            continue;
        };
        let name = &source.path[room.folder.len() + 1..];
        // `metainfo/build.rs` is part of `metainfo.rs`, and named with it.
        let subject = name.split_once('/').map(|(folder, _)| format!("{folder}.rs"));
        let is_named =
            |mention: &str| mention == name || subject.as_ref().is_some_and(|it| mention == it);
        if !mentions(&room.text).any(is_named) {
            let cure = format!("`{name}` is not named in ARCHITECTURE.md, `{}`", room.folder);
            report(&source.path, 0, cure);
        }
    }
    for room in &sections {
        for mention in mentions(&room.text) {
            let path = format!("{}/{mention}", room.folder);
            if !sources.iter().any(|source| source.path == path) {
                report(
                    &architecture.path,
                    room.line,
                    format!("there is no `{path}`: drop the name"),
                );
            }
        }
    }
    findings
}

/// The file names in backticks.
fn mentions(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    #[test]
    fn files_and_names_without_each_other_are_found() {
        let map = source(
            "ARCHITECTURE.md",
            "# a\n### `src/ring` the kernel\n`op.rs`, `sim.rs`, `uring/send.rs`, `gone.rs`.\n### other\n`x.rs`\n",
        );
        let files = [
            source("src/ring/lib.rs", ""),
            source("src/ring/op.rs", ""),
            source("src/ring/op_tests.rs", ""),
            source("src/ring/sim.rs", ""),
            source("src/ring/sim/disk.rs", ""),
            source("src/ring/uring/send.rs", ""),
            source("src/ring/uring/recv.rs", ""),
            source("src/wire/frame.rs", ""),
        ];
        let found = code_map(&files, &map);
        let places: Vec<_> = found.iter().map(|f| (f.file.as_str(), f.line)).collect();
        assert_eq!(
            places,
            [("src/ring/uring/recv.rs", 0), ("src/wire/frame.rs", 0), ("ARCHITECTURE.md", 2)]
        );
    }
}
