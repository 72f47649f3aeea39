//! The systemd unit and the program say the same of what the program may do.

use std::collections::BTreeSet;

use super::{Finding, Source};

/// What is to be made of names that only the unit has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum More {
    Right,
    Wrong,
}

/// Names that `setting` of the unit lacks, or has in excess of the program's list.
pub(super) fn differs<'a>(
    unit: &Source,
    setting: &str,
    program: impl IntoIterator<Item = &'a str>,
    more: More,
) -> Vec<Finding> {
    let program: BTreeSet<&str> = program.into_iter().collect();
    let mut listed = BTreeSet::new();
    let mut findings = Vec::new();
    let mut report = |line, cure| {
        let rule = "the-unit-allows-what-the-program-does";
        findings.push(Finding { file: unit.path.clone(), line, rule, cure });
    };
    for (index, line) in unit.text.lines().enumerate() {
        let value = line.strip_prefix(setting).and_then(|rest| rest.strip_prefix('='));
        for name in value.unwrap_or_default().split_ascii_whitespace() {
            if !listed.insert(name) {
                report(index + 1, format!("`{name}` stands twice in {setting}: drop one"));
            } else if more == More::Wrong && !program.contains(name) {
                report(
                    index + 1,
                    format!("the program's list has no `{name}`: drop it from {setting}"),
                );
            }
        }
    }
    for name in program.difference(&listed) {
        report(0, format!("{setting} has no `{name}`, which the program needs: add it"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_and_the_other_has_not_is_found() {
        let text = "[Service]\n# Filter=no\nFilter=read write\nFilter=open read\n".to_owned();
        let unit = Source { path: "a.service".into(), text };
        let find = |more| differs(&unit, "Filter", ["read", "write", "close"], more);
        let lines: Vec<usize> = find(More::Wrong).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [4, 4, 0]);
        assert_eq!(find(More::Right).len(), 2);
        assert_eq!(differs(&unit, "Filter", ["read", "write", "open"], More::Wrong).len(), 1);
    }
}
