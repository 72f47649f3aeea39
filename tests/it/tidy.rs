//! The rules of the house that no compiler or lint checks. Each failure names file, line, rule and
//! cure. Every rule is a function of paths and texts, and is tested on small ones that break it.

mod ledgers;
mod map;
mod rooms;
mod source;
mod text;
mod unit;

use std::fmt;
use std::path::{Path, PathBuf};

use ringseed_ring::sandbox;

/// A place that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    file: String,
    /// From 1; 0 when it is the file itself.
    line: usize,
    rule: &'static str,
    /// What is wrong, and what to do about it.
    cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.file, self.line, self.rule, self.cure)
    }
}

/// A file of the repository: its path from the root, with `/`, and its text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: String,
    text: String,
}

/// Folders that are no source of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "reports"];

/// Endings of the files that are read.
const ENDINGS: [&str; 7] = ["rs", "toml", "md", "sh", "py", "yml", "txt"];

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(root, &path, found);
            }
        } else if path
            .extension()
            .is_some_and(|ending| ENDINGS.contains(&ending.to_string_lossy().as_ref()))
            || path.ends_with(".ci/run")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
}

fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(root, root, &mut found);
    found
}

/// The Rust files, which most rules are about.
fn rust_files() -> Vec<Source> {
    repository().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

fn named(path: &str) -> Source {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    Source { path: path.to_owned(), text }
}

#[track_caller]
fn assert_clean(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} findings\n{}", findings.len(), lines.join("\n"));
}

fn over_all(sources: &[Source], rule: impl Fn(&Source) -> Vec<Finding>) -> Vec<Finding> {
    sources.iter().flat_map(rule).collect()
}

#[test]
fn rooms_import_downwards_only() {
    let floors = rooms::Floors::read(&named("ARCHITECTURE.md"));
    assert_clean(&over_all(&rust_files(), |source| rooms::upward_imports(source, &floors)));
}

#[test]
fn packages_import_downwards_only() {
    let floors = rooms::Floors::read(&named("ARCHITECTURE.md"));
    assert_clean(&over_all(&ledgers::manifests(&repository()), |source| {
        rooms::upward_packages(source, &floors)
    }));
}

#[test]
fn unsafe_code_stands_in_ring_only() {
    assert_clean(&over_all(&rust_files(), rooms::unsafe_outside_ring));
}

#[test]
fn files_have_one_subject() {
    assert_clean(&text::long_files(&rust_files(), &text::LONG_FILES));
}

#[test]
fn files_are_named_after_their_subject() {
    assert_clean(&over_all(&rust_files(), text::catch_all_name));
}

#[test]
fn limits_are_documented() {
    assert_clean(&over_all(&rust_files(), text::undocumented_limits));
}

#[test]
fn nothing_is_left_to_do_in_a_comment() {
    assert_clean(&over_all(&repository(), text::left_over));
}

#[test]
fn every_bep_stands_in_the_ledger_and_in_the_code() {
    assert_clean(&ledgers::beps(&rust_files(), &named("docs/protocol.md")));
}

#[test]
fn every_dependency_stands_in_the_ledger_with_its_reason() {
    let manifests = ledgers::manifests(&repository());
    assert_clean(&ledgers::dependencies(&manifests, &named("ARCHITECTURE.md")));
}

#[test]
fn every_dependency_is_used() {
    let manifests = ledgers::manifests(&repository());
    assert_clean(&ledgers::unused(&manifests, &rust_files()));
}

#[test]
fn the_code_map_names_every_file() {
    assert_clean(&map::code_map(&rust_files(), &named("ARCHITECTURE.md")));
}

#[test]
fn the_service_units_allow_what_the_program_allows_itself() {
    for unit in ["scripts/ringseed.service", "scripts/ringseed-tracker.service"] {
        let service = named(unit);
        let calls = sandbox::ALLOWED.iter().chain(sandbox::ONLY_AT_START);
        let calls = calls.map(|(constant, _)| constant.trim_start_matches("SYS_"));
        // Other architectures lack calls that x86_64 has of old; the unit is for all of them.
        let more = if cfg!(target_arch = "x86_64") { unit::More::Wrong } else { unit::More::Right };
        assert_clean(&unit::differs(&service, "SystemCallFilter", calls, more));
        let families = sandbox::FAMILIES.iter().map(|(name, _)| *name);
        let wrong = unit::More::Wrong;
        assert_clean(&unit::differs(&service, "RestrictAddressFamilies", families, wrong));
    }
}

#[test]
fn the_architecture_fits_on_200_lines() {
    assert_clean(&text::longer_than(&named("ARCHITECTURE.md"), 200));
}

#[test]
fn a_finding_names_file_line_rule_and_cure() {
    let finding = Finding {
        file: "src/a.rs".into(),
        line: 7,
        rule: "some-rule",
        cure: "this is wrong: do that".into(),
    };
    assert_eq!(finding.to_string(), "src/a.rs:7: [some-rule] this is wrong: do that");
}
