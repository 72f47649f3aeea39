//! What may import what, and where `unsafe` may stand.

use super::source::{code_only, line_of, words};
use super::{Finding, Source};

/// The floors of rooms (modules of the root package) and of packages, as ARCHITECTURE.md gives
/// them in the table under its heading "Floors".
pub(super) struct Floors {
    rooms: Vec<(String, u32)>,
    packages: Vec<(String, u32)>,
}

impl Floors {
    /// Rows are `| floor | kind | names |`, kind being `room` or `package`, each name in backticks.
    pub(super) fn read(architecture: &Source) -> Floors {
        let mut floors = Floors { rooms: Vec::new(), packages: Vec::new() };
        for (_, cells) in super::ledgers::table(&architecture.text, "Floors") {
            let [floor, kind, names, ..] = cells.as_slice() else { continue };
            let Ok(floor) = floor.parse::<u32>() else { continue };
            let into = if *kind == "room" { &mut floors.rooms } else { &mut floors.packages };
            into.extend(names.split('`').skip(1).step_by(2).map(|name| (name.to_owned(), floor)));
        }
        assert!(floors.rooms.len() > 1 && floors.packages.len() > 1, "no floors were read");
        floors
    }

    fn room(&self, name: &str) -> Option<u32> {
        self.rooms.iter().find(|(room, _)| room == name).map(|(_, floor)| *floor)
    }

    fn package(&self, name: &str) -> Option<u32> {
        self.packages.iter().find(|(package, _)| package == name).map(|(_, floor)| *floor)
    }
}

/// The room of the root package that a file belongs to.
fn room_of(path: &str) -> Option<&str> {
    let room = path.strip_prefix("src/")?.split('/').next()?;
    Some(room.strip_suffix(".rs").unwrap_or(room))
}

/// How many modules below the crate's root the file's own module is.
fn module_depth(path: &str) -> usize {
    let parts = path.matches('/').count();
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// Imports of a room that stands on the same floor or above.
pub(super) fn upward_imports(source: &Source, floors: &Floors) -> Vec<Finding> {
    let Some(room) = room_of(&source.path) else { return Vec::new() };
    let Some(floor) = floors.room(room) else { return Vec::new() };
    let code = code_only(&source.text);
    let mut findings = Vec::new();
    for (at, name) in crate_roots(&code, module_depth(&source.path)) {
        let Some(other) = floors.room(&name) else { continue };
        if name != room && other >= floor {
            findings.push(Finding {
                file: source.path.clone(),
                line: line_of(&code, at),
                rule: "rooms-import-downwards-only",
                cure: format!(
                    "`{room}` (floor {floor}) names `crate::{name}` (floor {other}): move the noun \
                     down, or pass a value"
                ),
            });
        }
    }
    findings
}

/// The first segments of all paths that start at the crate's root: `crate::x`, `crate::{x, y::z}`,
/// and `super::super::x` where that many `super` reach the root.
fn crate_roots(code: &str, depth: usize) -> Vec<(usize, String)> {
    let root_by_super = "super::".repeat(depth);
    let mut found = Vec::new();
    for at in words(code, "crate") {
        if let Some(rest) = code[at..].strip_prefix("crate::") {
            found.extend(first_segments(rest).into_iter().map(|name| (at, name)));
        }
    }
    for at in words(code, "super") {
        let inside_longer = at >= 7 && code[..at].ends_with("super::");
        if depth > 0
            && !inside_longer
            && let Some(rest) = code[at..].strip_prefix(&root_by_super)
        {
            found.extend(first_segments(rest).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// `x` of `x::y`, and each first segment of a group `{x, y::{a, b}, z}`.
fn first_segments(path: &str) -> Vec<String> {
    let identifier = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.trim_start().strip_prefix('{') else { return vec![identifier(path)] };
    let (mut depth, mut item, mut segments) = (0_usize, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => segments.push(identifier(&std::mem::take(&mut item))),
            _ => {}
        }
        if !(c == ',' && depth == 0) {
            item.push(c);
        }
    }
    segments.push(identifier(&item));
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// Packages that depend on one of ours on the same floor or above. Dev-dependencies count too.
pub(super) fn upward_packages(manifest: &Source, floors: &Floors) -> Vec<Finding> {
    let Some(name) = manifest.text.lines().find_map(|line| line.strip_prefix("name = ")) else {
        return Vec::new();
    };
    let name = name.trim_matches('"');
    let mut findings = Vec::new();
    let mut report = |line: usize, cure: String| {
        findings.push(Finding {
            file: manifest.path.clone(),
            line,
            rule: "packages-import-downwards-only",
            cure,
        });
    };
    let Some(floor) = floors.package(name) else {
        report(0, format!("package `{name}` has no floor: give it one in ARCHITECTURE.md"));
        return findings;
    };
    for (line, dependency) in super::ledgers::direct(&manifest.text) {
        if dependency == name || !dependency.starts_with("ringseed") {
            continue;
        }
        match floors.package(&dependency) {
            Some(other) if other < floor => {}
            Some(other) => report(
                line,
                format!(
                    "`{name}` (floor {floor}) depends on `{dependency}` (floor {other}): \
                         siblings do not import each other"
                ),
            ),
            None => report(line, format!("`{dependency}` has no floor in ARCHITECTURE.md")),
        }
    }
    findings
}

/// `unsafe` outside src/ring, and crate roots there that do not forbid it.
pub(super) fn unsafe_outside_ring(source: &Source) -> Vec<Finding> {
    if source.path.starts_with("src/ring/") {
        return Vec::new();
    }
    let finding = |line: usize, cure: &str| Finding {
        file: source.path.clone(),
        line,
        rule: "unsafe-in-ring-only",
        cure: cure.to_owned(),
    };
    let code = code_only(&source.text);
    let mut findings: Vec<Finding> = words(&code, "unsafe")
        .map(|at| finding(line_of(&code, at), "unsafe code: put the system call into src/ring"))
        .collect();
    let is_root = source.path.ends_with("/lib.rs")
        || (source.path.ends_with("/main.rs") && !source.path.contains("tests/"));
    if is_root && !code.contains("#![forbid(unsafe_code)]") {
        findings.push(finding(1, "a crate root without `#![forbid(unsafe_code)]`: add it"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn floors() -> Floors {
        Floors::read(&source(
            "ARCHITECTURE.md",
            "## Floors\n\n| floor | kind | names |\n|---|---|---|\n| 5 | room | `cli` |\n\
             | 4 | room | `worker` |\n| 3 | room | `store` |\n| 2 | package | `ringseed` |\n\
             | 1 | package | `ringseed-wire`, `ringseed-sched` |\n| 0 | package | `ringseed-meta` |\n",
        ))
    }

    fn lines(path: &str, text: &str) -> Vec<usize> {
        upward_imports(&source(path, text), &floors()).iter().map(|found| found.line).collect()
    }

    #[test]
    fn an_import_of_a_room_above_is_found() {
        assert_eq!(lines("src/store/mod.rs", "use crate::store::x;\nuse crate::worker::Y;\n"), [2]);
        assert_eq!(lines("src/store/a.rs", "fn f() { crate::cli::main() }\n"), [1]);
        assert_eq!(lines("src/worker/mod.rs", "use crate::store::X;\n// crate::cli\n"), [0; 0]);
    }

    #[test]
    fn an_import_in_a_group_or_by_super_is_found() {
        assert_eq!(lines("src/store/a.rs", "use crate::{\n store::{a, b},\n cli::c,\n};\n"), [1]);
        assert_eq!(lines("src/store/a.rs", "use super::super::worker::X;\n"), [1]);
        assert_eq!(lines("src/store/mod.rs", "use super::worker::X;\n"), [1]);
        assert_eq!(lines("src/store/a.rs", "use super::worker::X;\n"), [0; 0]);
    }

    #[test]
    fn a_sibling_package_is_found() {
        let text = "name = \"ringseed-wire\"\n[dependencies]\nringseed-meta.workspace = true\n\
                    ringseed-sched.workspace = true\n";
        let found = upward_packages(&source("src/wire/Cargo.toml", text), &floors());
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [4]);
        let stranger = source("x/Cargo.toml", "name = \"ringseed-x\"\n");
        assert_eq!(upward_packages(&stranger, &floors()).len(), 1);
    }

    #[test]
    fn unsafe_is_found_outside_ring() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\nfn f() { unsafe { g() } }\n";
        assert_eq!(unsafe_outside_ring(&source("src/lib.rs", text))[0].line, 3);
        assert_eq!(unsafe_outside_ring(&source("src/ring/uring.rs", text)), []);
        assert_eq!(unsafe_outside_ring(&source("tracker/src/lib.rs", "fn f() {}\n")).len(), 1);
    }
}
