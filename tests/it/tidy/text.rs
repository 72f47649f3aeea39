//! Rules about single files: their length, their name, their limits, their left-overs.

use super::source::{code_only, words};
use super::{Finding, Source};

/// Lines of a file with one subject, its tests included.
const LINES_MAX: usize = 500;

/// A longer file that is let be: its path, its lines today, and why. The number may only fall.
pub(super) type LongFile = (&'static str, usize, &'static str);

/// None.
pub(super) const LONG_FILES: [LongFile; 0] = [];

/// Files longer than [`LINES_MAX`] and not listed with their length; entries that are out of date.
pub(super) fn long_files(sources: &[Source], listed: &[LongFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |file: &str, line: usize, cure: String| {
        findings.push(Finding { file: file.into(), line, rule: "files-have-one-subject", cure });
    };
    for source in sources {
        let lines = source.text.lines().count();
        let entry = listed.iter().find(|(path, ..)| *path == source.path);
        match entry {
            None if lines > LINES_MAX => report(
                &source.path,
                LINES_MAX + 1,
                format!("{lines} lines, {LINES_MAX} is the limit: split it by subject"),
            ),
            Some((_, most, _)) if lines > *most => report(
                &source.path,
                *most + 1,
                format!("{lines} lines, it had {most} when it was listed: shorten it"),
            ),
            Some((_, most, _)) if lines < *most || lines <= LINES_MAX => report(
                &source.path,
                0,
                format!("{lines} lines, listed with {most}: lower the number or drop the entry"),
            ),
            _ => {}
        }
    }
    for (path, _, reason) in listed {
        if !sources.iter().any(|source| source.path == *path) {
            report(path, 0, "listed as a long file, but there is none: drop the entry".into());
        }
        if reason.is_empty() {
            report(path, 0, "listed as a long file without a reason: give it".into());
        }
    }
    findings
}

/// A document longer than `lines_max`.
pub(super) fn longer_than(source: &Source, lines_max: usize) -> Vec<Finding> {
    let lines = source.text.lines().count();
    let too_long = (lines > lines_max).then(|| Finding {
        file: source.path.clone(),
        line: lines_max + 1,
        rule: "documents-are-short",
        cure: format!("{lines} lines, {lines_max} is the limit: move detail beside the code"),
    });
    too_long.into_iter().collect()
}

/// Names under which anything can land.
const CATCH_ALL_NAMES: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "misc", "types", "manager", "globals"];

/// A file or folder with a name that says nothing.
pub(super) fn catch_all_name(source: &Source) -> Vec<Finding> {
    let name = source.path.trim_end_matches(".rs").split('/').find(|part| {
        CATCH_ALL_NAMES.contains(part)
            || CATCH_ALL_NAMES.iter().any(|name| part.ends_with(&format!("_{name}")))
    });
    let finding = name.map(|name| Finding {
        file: source.path.clone(),
        line: 0,
        rule: "files-are-named-after-their-subject",
        cure: format!("`{name}` says nothing: name it after its main type or verb"),
    });
    finding.into_iter().collect()
}

/// Constants of a `limits` module without a doc comment that gives unit and reason.
pub(super) fn undocumented_limits(source: &Source) -> Vec<Finding> {
    let lines: Vec<&str> = source.text.lines().collect();
    let code = code_only(&source.text);
    let mut findings = Vec::new();
    let mut inside = source.path.ends_with("/limits.rs");
    let whole_file = inside;
    for (index, line) in code.lines().enumerate() {
        if is_limits_module(line) {
            inside = true;
        } else if line.starts_with('}') && !whole_file {
            inside = false;
        }
        let constant = line.trim_start();
        let public =
            constant.starts_with("pub const ") || constant.starts_with("pub(crate) const ");
        if !inside || !public || constant.starts_with("pub const fn") {
            continue;
        }
        if documentation_words(&lines[..index]) < 3 {
            findings.push(Finding {
                file: source.path.clone(),
                line: index + 1,
                rule: "limits-are-documented",
                cure: "a limit without its unit and reason: say both in a `///` above it".into(),
            });
        }
    }
    findings
}

fn is_limits_module(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
    line.starts_with("mod limits {")
}

/// Words in the doc comment at the end of `above`, attributes between passed over.
fn documentation_words(above: &[&str]) -> usize {
    above
        .iter()
        .rev()
        .map(|line| line.trim_start())
        .skip_while(|line| line.starts_with("#["))
        .take_while(|line| line.starts_with("///"))
        .map(|line| line.split_whitespace().count().saturating_sub(1))
        .sum()
}

/// Marks of work that is put off (spelt in two halves here, so that this file passes).
const LEFT_OVERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// A comment that puts work off: it belongs into the tracker of issues.
pub(super) fn left_over(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        if let Some(mark) = LEFT_OVERS.iter().find(|mark| words(line, mark).next().is_some()) {
            findings.push(Finding {
                file: source.path.clone(),
                line: index + 1,
                rule: "no-left-overs",
                cure: format!("`{mark}`: do it now, or open an issue and delete the line"),
            });
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

    #[test]
    fn a_long_file_is_found_and_its_number_may_only_fall() {
        let long = [source("src/a.rs", &"x\n".repeat(501))];
        assert_eq!(long_files(&long, &[])[0].line, 501);
        assert_eq!(long_files(&long, &[("src/a.rs", 501, "one table")]), []);
        assert_eq!(long_files(&long, &[("src/a.rs", 500, "one table")]).len(), 1);
        assert_eq!(long_files(&long, &[("src/a.rs", 502, "one table")]).len(), 1);
        assert_eq!(long_files(&long, &[("src/a.rs", 501, "")]).len(), 1);
        assert_eq!(long_files(&[source("a.rs", "x\n")], &[("a.rs", 1, "why")]).len(), 1);
        assert_eq!(long_files(&[], &[("src/gone.rs", 600, "why")]).len(), 1);
        assert_eq!(long_files(&[source("src/a.rs", &"x\n".repeat(500))], &[]), []);
    }

    #[test]
    fn a_long_document_is_found() {
        assert_eq!(longer_than(&source("A.md", "a\nb\n"), 1)[0].line, 2);
        assert_eq!(longer_than(&source("A.md", "a\nb\n"), 2), []);
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        assert_eq!(catch_all_name(&source("src/store/util.rs", "")).len(), 1);
        assert_eq!(catch_all_name(&source("src/common/mod.rs", "")).len(), 1);
        assert_eq!(catch_all_name(&source("src/net_helpers.rs", "")).len(), 1);
        assert_eq!(catch_all_name(&source("src/store/files.rs", "")), []);
    }

    #[test]
    fn a_limit_without_its_reason_is_found() {
        let text = "pub mod limits {\n    pub const A: u32 = 1;\n    /// 16.\n    \
                    pub const B: u32 = 1;\n    /// Bytes: one page, so that a header never crosses.\n    \
                    #[doc(hidden)]\n    pub const C: u32 = 1;\n}\npub const D: u32 = 1;\n";
        let found: Vec<usize> =
            undocumented_limits(&source("src/lib.rs", text)).iter().map(|f| f.line).collect();
        assert_eq!(found, [2, 4]);
        assert_eq!(
            undocumented_limits(&source("src/limits.rs", "pub const A: u8 = 1;\n")).len(),
            1
        );
    }

    #[test]
    fn work_put_off_is_found() {
        let text = format!("fn f() {{}}\n// {}: later\n", LEFT_OVERS[0]);
        assert_eq!(left_over(&source("src/a.rs", &text))[0].line, 2);
        assert_eq!(left_over(&source("src/a.rs", &format!("// {}S\n", LEFT_OVERS[0]))), []);
    }
}
