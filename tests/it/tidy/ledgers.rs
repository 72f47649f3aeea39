//! The ledgers: which BEPs are spoken (docs/protocol.md), which libraries are used and why (ARCHITECTURE.md).

use std::collections::BTreeMap;

use super::source::{line_of, words};
use super::{Finding, Source};

/// Rows of the tables under the heading that reads `heading`, each with its line (from 1) and its
/// trimmed cells. The head row and the rule below it are left out.
pub(super) fn table<'a>(markdown: &'a str, heading: &str) -> Vec<(usize, Vec<&'a str>)> {
    let mut inside = false;
    let mut rows = Vec::new();
    let mut head = true;
    for (index, line) in markdown.lines().enumerate() {
        if line.starts_with('#') {
            inside = line.trim_start_matches('#').trim() == heading;
            head = true;
        } else if inside && line.starts_with('|') {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let is_rule = cells.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':'));
            if !head && !is_rule {
                rows.push((index + 1, cells));
            }
            head = false;
        }
    }
    rows
}

/// The numbers of the BEPs that `text` cites, each with its line: "BEP 3", "BEP 6, 10 and 52".
fn cited(text: &str) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    for at in words(text, "BEP").chain(words(text, "BEPs")) {
        let line = line_of(text, at);
        let mut rest = text[at..].trim_start_matches("BEPs").trim_start_matches("BEP");
        let mut first = true;
        while let Some((number, after)) = leading_number(rest.trim_start_matches([' ', '-'])) {
            // In "BEP 3, 20 bytes" the second number counts bytes.
            let counts_something = after.strip_prefix(' ').is_some_and(|next| {
                next.starts_with(char::is_alphabetic) && !next.starts_with("and ")
            });
            if !first && counts_something {
                break;
            }
            found.push((line, number));
            first = false;
            let Some(next) = [", ", " and ", "/"].iter().find_map(|by| after.strip_prefix(by))
            else {
                break;
            };
            rest = next;
        }
    }
    found
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// BEPs cited in code that the ledger lacks, and rows of the ledger that no code cites.
pub(super) fn beps(sources: &[Source], ledger: &Source) -> Vec<Finding> {
    let mut in_ledger = BTreeMap::new();
    for (line, cells) in table(&ledger.text, "BEPs") {
        if let Some(number) = cells.first().and_then(|cell| cell.parse::<u32>().ok()) {
            in_ledger.insert(number, line);
        }
    }
    let mut findings = Vec::new();
    let mut in_code = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.path.starts_with("tests/")) {
        for (line, number) in cited(&source.text) {
            in_code.entry(number).or_insert((source.path.clone(), line));
        }
    }
    for (number, (file, line)) in &in_code {
        if !in_ledger.contains_key(number) {
            findings.push(Finding {
                file: file.clone(),
                line: *line,
                rule: "beps-stand-in-the-ledger",
                cure: format!(
                    "BEP {number} is cited here: give it a row in docs/protocol.md, BEPs"
                ),
            });
        }
    }
    for (number, line) in in_ledger {
        if !in_code.contains_key(&number) {
            findings.push(Finding {
                file: ledger.path.clone(),
                line,
                rule: "beps-stand-in-the-ledger",
                cure: format!(
                    "no code cites BEP {number}: cite it where it is done, or drop the row"
                ),
            });
        }
    }
    findings
}

/// The manifests of all packages.
pub(super) fn manifests(sources: &[Source]) -> Vec<Source> {
    sources
        .iter()
        .filter(|source| source.path.rsplit('/').next() == Some("Cargo.toml"))
        .filter(|source| !source.path.starts_with("fuzz/"))
        .cloned()
        .collect()
}

/// The entries of a manifest's section, each with its line.
fn entries<'a>(
    manifest: &'a str,
    section: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = (usize, String)> + 'a {
    let mut inside = false;
    manifest.lines().enumerate().filter_map(move |(index, line)| {
        if let Some(name) = line.strip_prefix('[') {
            inside = section(name.trim_end_matches(']'));
            return None;
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or("");
        (inside && !name.is_empty() && !name.starts_with('#')).then(|| (index + 1, name.to_owned()))
    })
}

/// The direct dependencies of a manifest, those of tests and builds included.
pub(super) fn direct(manifest: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    entries(manifest, |section| {
        section.ends_with("dependencies") && !section.starts_with("workspace")
    })
}

/// Dependencies without a row that gives a reason, rows without a dependency, and lines of
/// `[workspace.dependencies]` that no package uses.
pub(super) fn dependencies(manifests: &[Source], architecture: &Source) -> Vec<Finding> {
    let mut rows = BTreeMap::new();
    for (line, cells) in table(&architecture.text, "Libraries") {
        let reason = cells.last().copied().unwrap_or("");
        for name in cells.first().copied().unwrap_or("").split('`').skip(1).step_by(2) {
            rows.insert(name, (line, reason.split_whitespace().count()));
        }
    }
    let mut findings = Vec::new();
    let mut report = |file: &str, line: usize, cure: String| {
        findings.push(Finding {
            file: file.into(),
            line,
            rule: "libraries-stand-in-the-ledger",
            cure,
        });
    };
    let mut used = Vec::new();
    for manifest in manifests {
        for (line, name) in direct(&manifest.text) {
            match rows.get(name.as_str()) {
                _ if name.starts_with("ringseed") => {}
                None => report(
                    &manifest.path,
                    line,
                    format!(
                        "`{name}` has no row: say in ARCHITECTURE.md, Libraries, why it is needed"
                    ),
                ),
                Some((row, words)) if *words < 3 => report(
                    &architecture.path,
                    *row,
                    format!(
                        "the row of `{name}` gives no reason: say what we would write without it"
                    ),
                ),
                Some(_) => {}
            }
            used.push(name);
        }
    }
    for (name, (line, _)) in rows {
        if !used.iter().any(|other| other == name) {
            report(&architecture.path, line, format!("no package uses `{name}`: drop the row"));
        }
    }
    for manifest in manifests {
        for (line, name) in entries(&manifest.text, |section| section == "workspace.dependencies") {
            if !used.contains(&name) {
                report(&manifest.path, line, format!("no package uses `{name}`: drop the line"));
            }
        }
    }
    findings
}

/// Dependencies of a package that its code never names.
pub(super) fn unused(manifests: &[Source], sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests {
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        let nested: Vec<&str> = manifests
            .iter()
            .map(|other| other.path.trim_end_matches("Cargo.toml"))
            .filter(|other| *other != folder && other.starts_with(folder))
            .collect();
        let own: Vec<&Source> = sources
            .iter()
            .filter(|source| source.path.starts_with(folder))
            .filter(|source| !nested.iter().any(|other| source.path.starts_with(other)))
            .collect();
        for (line, name) in direct(&manifest.text) {
            let identifier = name.replace('-', "_");
            if !own.iter().any(|source| words(&source.text, &identifier).next().is_some()) {
                findings.push(Finding {
                    file: manifest.path.clone(),
                    line,
                    rule: "dependencies-are-used",
                    cure: format!("no code of this package names `{identifier}`: drop the line"),
                });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    const LEDGERS: &str = "## BEPs\n\n| BEP | where |\n|---|---|\n| 3 | wire |\n| 10 | wire |\n\n\
                           ## Libraries\n\n| library | reason |\n|---|---|\n\
                           | `clap` | parses the flags |\n";

    #[test]
    fn a_table_is_read_under_its_heading_only() {
        let rows = table(LEDGERS, "BEPs");
        assert_eq!(rows, [(5, vec!["3", "wire"]), (6, vec!["10", "wire"])]);
    }

    #[test]
    fn beps_are_found_in_lists() {
        let numbers = |text| cited(text).into_iter().map(|(_, n)| n).collect::<Vec<_>>();
        assert_eq!(numbers("BEP 3, 4 and 52."), [3, 4, 52]);
        assert_eq!(numbers("(BEP 6/10) BEPs 7 and 23"), [6, 10, 7, 23]);
        assert_eq!(numbers("BEP 3, 20 bytes, BEP-9"), [3, 9]);
        assert_eq!(numbers("BEP 3's info, the BEP"), [3]);
    }

    #[test]
    fn a_bep_outside_the_ledger_and_a_row_without_code_are_found() {
        let code = [source("src/a.rs", "// BEP 3\n// BEP 6: \"reject\"\n")];
        let found = beps(&code, &source("ARCHITECTURE.md", LEDGERS));
        let places: Vec<_> = found.iter().map(|f| (f.file.as_str(), f.line)).collect();
        assert_eq!(places, [("src/a.rs", 2), ("ARCHITECTURE.md", 6)]);
    }

    #[test]
    fn a_dependency_outside_the_ledger_and_a_dead_row_are_found() {
        let ledger = source("ARCHITECTURE.md", LEDGERS);
        let clean = [source("Cargo.toml", "[dependencies]\nclap = \"4\"\n")];
        assert_eq!(dependencies(&clean, &ledger), []);
        let text = "[workspace.dependencies]\nclap = \"4\"\nlibc = \"0.2\"\nsha1 = \"0.11\"\n\
                    [dev-dependencies]\nlibc.workspace = true\n";
        let found = dependencies(&[source("Cargo.toml", text)], &ledger);
        let places: Vec<_> = found.iter().map(|f| (f.file.as_str(), f.line)).collect();
        assert_eq!(
            places,
            [("Cargo.toml", 6), ("ARCHITECTURE.md", 12), ("Cargo.toml", 2), ("Cargo.toml", 4)]
        );
    }

    #[test]
    fn a_row_without_a_reason_is_found() {
        let ledger = LEDGERS.replace("parses the flags", "flags");
        let manifest = [source("Cargo.toml", "[dependencies]\nclap = \"4\"\n")];
        assert_eq!(dependencies(&manifest, &source("ARCHITECTURE.md", &ledger)).len(), 1);
    }

    #[test]
    fn a_dependency_that_no_code_names_is_found() {
        let manifests = [
            source("Cargo.toml", "[dependencies]\nclap = \"4\"\nio-uring = \"0.7\"\n"),
            source("src/ring/Cargo.toml", "[dependencies]\nio-uring = \"0.7\"\n"),
        ];
        let code = [
            source("src/main.rs", "use clap::Parser;\n"),
            source("src/ring/lib.rs", "use io_uring::opcode;\n"),
        ];
        let found = unused(&manifests, &code);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].file.as_str(), found[0].line), ("Cargo.toml", 3));
    }
}
