//! Reading a .torrent file for a subcommand, and printing what stands in it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::Context;
use ringseed_meta::Metainfo;
use ringseed_meta::limits::TORRENT_FILE_BYTES_MAX;

/// Reads a .torrent file; warnings go to stderr.
pub(super) fn read(path: &Path) -> anyhow::Result<Metainfo> {
    let cannot = || format!("cannot read '{}'", path.display());
    let mut bytes = Vec::new();
    // One byte more than the limit, so that the limit is seen to be passed.
    let limit = TORRENT_FILE_BYTES_MAX as u64 + 1;
    let file = File::open(path).with_context(cannot)?;
    file.take(limit).read_to_end(&mut bytes).with_context(cannot)?;
    let metainfo = Metainfo::parse(&bytes).with_context(cannot)?;
    for warning in metainfo.warnings() {
        eprintln!("ringseed: '{}': {}", path.display(), Printable(&warning.to_string()));
    }
    Ok(metainfo)
}

/// Text from a torrent, safe for a terminal: control characters are escaped.
pub(super) struct Printable<'a>(pub(super) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character.is_control() {
            true => write!(f, "{}", character.escape_default()),
            false => write!(f, "{character}"),
        })
    }
}

/// Ranges of pieces as `3, 7-9`.
pub(super) struct Pieces<'a>(pub(super) &'a [Range<u32>]);

impl fmt::Display for Pieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for range in self.0.iter().filter(|range| !range.is_empty()) {
            let last = range.end - 1;
            match range.start == last {
                true => write!(f, "{between}{last}")?,
                false => write!(f, "{between}{}-{last}", range.start)?,
            }
            between = ", ";
        }
        Ok(())
    }
}

/// Seconds since 1970 as a date.
pub(super) struct Date(pub(super) i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        // Years that begin in March have their leap day at the end; 400 of them are 146,097 days.
        let days = days.saturating_add(719_468);
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day_of_month = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + next;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(Date(0).to_string(), "1970-01-01 00:00:00 UTC");
        assert_eq!(Date(951_782_399).to_string(), "2000-02-28 23:59:59 UTC");
        assert_eq!(Date(951_782_400).to_string(), "2000-02-29 00:00:00 UTC");
        assert_eq!(Date(1_735_689_599).to_string(), "2024-12-31 23:59:59 UTC");
        assert_eq!(Date(-1).to_string(), "1969-12-31 23:59:59 UTC");
        // Nonsense from a torrent prints as nonsense.
        assert!(Date(i64::MIN).to_string().ends_with("UTC"));
        assert!(Date(i64::MAX).to_string().ends_with("UTC"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(Printable("a\x1b[2Jß\n").to_string(), "a\\u{1b}[2Jß\\n");
    }

    #[test]
    fn pieces_are_printed_as_ranges() {
        assert_eq!(Pieces(&[3..4, 7..10, 9..9]).to_string(), "3, 7-9");
        assert_eq!(Pieces(&[]).to_string(), "");
    }
}
