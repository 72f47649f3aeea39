//! The interval log of HdrHistogram (format 1.3, histograms V2 and deflated), which the standard
//! tools read: HistogramLogProcessor, HistogramLogAnalyzer, the `hdrh` package of Python.

use std::cmp::Reverse;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::naming::{Names, Recorded, recorded};
use crate::results::Results;

/// A line of the log.
struct Line<'a> {
    tag: &'a str,
    /// Since the run began.
    begin: Duration,
    length: Duration,
    what: What<'a>,
}

enum What<'a> {
    Interval(&'a crate::results::distribution::Interval),
    Whole(&'a Histogram<u64>),
}

/// The log: a line for each interval in the order of time, tagged `PHASE/LOAD/METRIC`.
pub(super) fn text(results: &Results) -> anyhow::Result<Vec<u8>> {
    let start = UNIX_EPOCH
        .checked_add(Duration::from_millis(results.started_unix_ms))
        .with_context(|| format!("started_unix_ms {} is no time", results.started_unix_ms))?;
    let mut names = Names::default();
    let tagged: Vec<(String, Recorded<'_>)> =
        recorded(results).map(|recorded| (names.take(&recorded, "/"), recorded)).collect();
    let mut lines = Vec::new();
    for (tag, recorded) in &tagged {
        lines_of(tag, recorded, &mut lines)?;
    }
    // Tools take the first line that is too late for the end; sooner begun and longer goes first.
    lines.sort_by_key(|line| (line.begin, Reverse(line.length)));

    let mut written = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("[Logged with {}]", results.program))
        .add_comment(
            "[Values in microseconds, their maximum in milliseconds; tags: PHASE/LOAD/METRIC]",
        )
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(1_000.0)
        .begin_log_with(&mut written, &mut serializer)?;
    for line in &lines {
        let tag = Tag::new(line.tag).with_context(|| format!("'{}' is no tag", line.tag))?;
        let histogram = match line.what {
            What::Interval(interval) => &interval
                .recorded()
                .map_err(|why| anyhow!("an interval of '{}': {why}", line.tag))?,
            What::Whole(histogram) => histogram,
        };
        log.write_histogram(histogram, line.begin, line.length, Some(tag))
            .map_err(|why| anyhow!("cannot log '{}': {why}", line.tag))?;
    }
    Ok(written)
}

/// The intervals; all at once where none were kept.
fn lines_of<'a>(
    tag: &'a str,
    recorded: &Recorded<'a>,
    lines: &mut Vec<Line<'a>>,
) -> anyhow::Result<()> {
    let phase = recorded.phase;
    let seconds = |s: f64| {
        Duration::try_from_secs_f64(s)
            .map_err(|why| anyhow!("times of phase '{}': {s} s: {why}", phase.name))
    };
    let from = seconds(phase.counted_from_s)?;
    let distribution = recorded.distribution;
    if distribution.intervals.is_empty() {
        let length = seconds(phase.seconds)?;
        let what = What::Whole(&distribution.total);
        lines.push(Line { tag, begin: from, length, what });
    }
    lines.extend(distribution.intervals.iter().map(|interval| Line {
        tag,
        begin: from.saturating_add(interval.begin),
        length: interval.length,
        what: What::Interval(interval),
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::distribution::new_histogram;
    use crate::results::{Distribution, LoadResult, Machine, PhaseResult, Results, SCHEMA, Target};

    #[test]
    fn lines_are_in_the_order_of_time_and_what_has_no_intervals_is_one() {
        let mut recorded = new_histogram();
        recorded.saturating_record(7);
        let mut timed = Distribution::new();
        for second in [0, 1] {
            timed.add(Duration::from_secs(second), Duration::from_secs(1), &recorded);
        }
        let whole = Distribution { total: recorded, intervals: Vec::new() };
        let load = |name: &str, metric: &str, distribution| LoadResult {
            name: name.into(),
            latencies: [(metric.to_owned(), distribution)].into(),
            ..LoadResult::default()
        };
        let phase = PhaseResult {
            name: "p".into(),
            counted_from_s: 1.5,
            seconds: 2.0,
            loads: vec![load("a, b", "late", timed), load("c", "announce", whole)],
            ..PhaseResult::default()
        };
        let results = Results {
            schema: SCHEMA.into(),
            program: "x\n1.0,1.0,1.0,y".into(),
            title: String::new(),
            command: Vec::new(),
            started_unix_ms: 1_000_250,
            elapsed_s: 4.0,
            machine: Machine::default(),
            target: Target::default(),
            phases: vec![phase],
            failures: Vec::new(),
        };
        let log = String::from_utf8(text(&results).unwrap()).unwrap();
        assert!(log.contains("#[StartTime: 1000.250 (seconds since epoch)]\n"), "{log}");
        let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with('#')).collect();
        let begins = [
            "Tag=p/c/announce,1.500,2.000,0.007,HISTFAAA",
            "Tag=p/a--b/late,1.500,1.000,",
            "Tag=p/a--b/late,2.500,",
        ];
        assert_eq!(lines.len(), begins.len(), "{log}");
        for (line, begin) in lines.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
    }
}
