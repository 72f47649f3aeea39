//! Figures as people read them: three digits that count, and a unit.

use std::fmt::Write as _;

/// `65 µs`, `1.40 ms`, `2.10 s`.
pub(super) fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", number(us as f64 / 1e3)),
        _ => format!("{} s", number(us as f64 / 1e6)),
    }
}

/// `0.0123`, `1.23`, `12.3`, `123`, `12,345`; three digits that count below a thousand.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        ..0.001 => 6,
        ..0.01 => 5,
        ..0.1 => 4,
        ..0.9995 => 3,
        ..9.995 => 2,
        ..99.95 => 1,
        ..999.5 => 0,
        _ if value.is_finite() && value > 0.0 => return count(value.round() as u64),
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// `12,345`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.50 MiB`; signed, since it may be a difference.
pub(super) fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{scaled:.0} B") } else { format!("{} {}", number(scaled), units[unit]) }
}

/// `7.3 s`, `4 min 05 s`, `2 h 03 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3_600, whole / 60 % 60),
    }
}

/// A moment as `2026-11-24 23:36 UTC`.
pub(super) fn moment(unix_ms: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(unix_ms));
    let mut text = String::new();
    // A time after the year 9999 cannot be written: the number then says more than nothing.
    match time.map(|time| write!(text, "{}", humantime::format_rfc3339_seconds(time))) {
        Some(Ok(())) => format!("{} UTC", text.replace('T', " ").get(..16).unwrap_or(&text)),
        _ => format!("{unix_ms} ms after 1970"),
    }
}

/// Core numbers as `0-2,5`; `any` for none in particular.
pub(super) fn cores(numbers: &[usize]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let runs = sorted.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    });
    let text = runs.collect::<Vec<_>>().join(",");
    if text.is_empty() { "any".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let texts =
            [0.0, 0.000_123, 0.0123, 0.123, 0.9996, 1.234, 9.996, 12.34, 99.96, 123.4, 999.6]
                .map(number);
        let wanted = [
            "0", "0.000123", "0.0123", "0.123", "1.00", "1.23", "10.0", "12.3", "100", "123",
            "1,000",
        ];
        assert_eq!(texts, wanted);
        assert_eq!(number(-2.5), "-2.50");
        assert_eq!(number(f64::INFINITY), "inf");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
    }

    #[test]
    fn units_follow_the_size() {
        assert_eq!(
            [999, 1_000, 12_345, 999_499, 2_100_000].map(time),
            ["999 µs", "1.00 ms", "12.3 ms", "999 ms", "2.10 s"]
        );
        assert_eq!([512.0, -2048.0, 3.5e9].map(bytes), ["512 B", "-2.00 KiB", "3.26 GiB"]);
        assert_eq!([7.25, 245.0, 7_400.0].map(duration), ["7.2 s", "4 min 05 s", "2 h 03 min"]);
    }

    #[test]
    fn moments_and_cores_are_short() {
        assert_eq!(moment(1_795_563_383_000), "2026-11-24 23:36 UTC");
        assert_eq!(moment(u64::MAX), format!("{} ms after 1970", u64::MAX));
        assert_eq!(cores(&[3, 0, 1, 2, 7]), "0-3,7");
        assert_eq!(cores(&[]), "any");
    }
}
