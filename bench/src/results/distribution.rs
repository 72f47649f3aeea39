//! A latency distribution as JSON: readable figures, and the histogram itself as the standard tools
//! write it (HdrHistogram V2, deflate, base64), in whole and by interval.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize, de, ser};

use crate::limits::LATENCY_US_MAX;

/// Times in microseconds, three significant digits.
#[derive(Clone, PartialEq, Debug)]
pub struct Distribution {
    pub total: Histogram<u64>,
    /// In the order of time.
    pub intervals: Vec<Interval>,
}

/// What was recorded within a stretch of time.
#[derive(Clone, PartialEq, Debug)]
pub struct Interval {
    /// When it began, since the counted time of the phase began.
    pub begin: Duration,
    pub length: Duration,
    /// As it stands in the file. A histogram of this range takes 150 KiB in memory and some hundred
    /// bytes as text, and a run has thousands of intervals.
    text: String,
}

impl Interval {
    /// What was recorded.
    pub fn recorded(&self) -> Result<Histogram<u64>, String> {
        from_text(&self.text)
    }
}

impl Distribution {
    /// Nothing recorded.
    pub fn new() -> Distribution {
        Distribution { total: new_histogram(), intervals: Vec::new() }
    }

    /// Adds an interval, to the total as well.
    pub fn add(&mut self, begin: Duration, length: Duration, recorded: &Histogram<u64>) {
        // Both histograms have one range, so nothing can fall outside.
        let _ = self.total.add(recorded);
        // Fails on counts over 2^63 and when its writer fails, which a vector does not.
        let text = to_text(recorded).unwrap_or_else(|why| unreachable!("{why}"));
        self.intervals.push(Interval { begin, length, text });
    }
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution::new()
    }
}

/// A histogram of times in microseconds with three significant digits.
pub fn new_histogram() -> Histogram<u64> {
    // The only errors are a bound below 2 and more than 5 digits.
    Histogram::new_with_max(LATENCY_US_MAX, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// The form in the file.
#[derive(Serialize, Deserialize)]
struct Written {
    count: u64,
    min_us: u64,
    mean_us: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    p9999_us: u64,
    max_us: u64,
    hdr: String,
    intervals: Vec<WrittenInterval>,
}

#[derive(Serialize, Deserialize)]
struct WrittenInterval {
    begin_s: f64,
    length_s: f64,
    hdr: String,
}

/// The histogram as the standard tools write it: V2, deflated, base64.
pub fn to_text(histogram: &Histogram<u64>) -> Result<String, String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).map_err(|why| why.to_string())?;
    Ok(STANDARD.encode(bytes))
}

/// Reads what [`to_text`] wrote.
pub fn from_text(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD.decode(text).map_err(|why| format!("not base64: {why}"))?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|why| format!("not a V2 histogram: {why}"))
}

impl Serialize for Distribution {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = |quantile| self.total.value_at_quantile(quantile);
        let intervals = self.intervals.iter().map(|interval| WrittenInterval {
            begin_s: interval.begin.as_secs_f64(),
            length_s: interval.length.as_secs_f64(),
            hdr: interval.text.clone(),
        });
        Written {
            count: self.total.len(),
            min_us: self.total.min(),
            mean_us: self.total.mean(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: self.total.max(),
            hdr: to_text(&self.total).map_err(ser::Error::custom)?,
            intervals: intervals.collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let seconds = |s| Duration::try_from_secs_f64(s).map_err(de::Error::custom);
        let intervals = written.intervals.into_iter().map(|interval| {
            from_text(&interval.hdr).map_err(de::Error::custom)?;
            Ok(Interval {
                begin: seconds(interval.begin_s)?,
                length: seconds(interval.length_s)?,
                text: interval.hdr,
            })
        });
        Ok(Distribution {
            total: from_text(&written.hdr).map_err(de::Error::custom)?,
            intervals: intervals.collect::<Result<_, D::Error>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_survives_the_file() {
        let mut distribution = Distribution::new();
        let mut recorded = new_histogram();
        [3, 70, 70, 1_234_567].into_iter().for_each(|us| recorded.saturating_record(us));
        distribution.add(Duration::ZERO, Duration::from_secs(1), &recorded);
        distribution.add(Duration::from_secs(1), Duration::from_millis(500), &recorded);
        assert_eq!(distribution.intervals[1].recorded(), Ok(recorded));
        let text = serde_json::to_string(&distribution).unwrap();
        assert!(text.starts_with("{\"count\":8,\"min_us\":3,"), "{text}");
        assert_eq!(serde_json::from_str::<Distribution>(&text).unwrap(), distribution);
    }

    #[test]
    fn a_text_that_is_no_histogram_is_refused() {
        assert!(from_text("!").unwrap_err().starts_with("not base64"));
        assert!(from_text("AAAA").unwrap_err().starts_with("not a V2 histogram"));
    }
}
