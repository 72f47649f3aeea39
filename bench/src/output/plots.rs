//! What the charts of a page show, as plain numbers; report.js draws them and computes nothing.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::hgrm::steps;
use crate::limits::{PLOT_COLUMNS_MAX, PLOT_POINTS_MAX};
use crate::results::distribution::{Interval, new_histogram};
use crate::results::{Distribution, Sample};

/// Rows of a heat map in each tenfold of time: steps of 21 %.
const ROWS_A_DECADE: u32 = 12;

/// Points of a percentile curve in each halving of the distance to 100 %.
const TICKS_A_HALF: u32 = 8;

/// A chart.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Plot {
    /// Latency by percentile.
    Percentiles { curves: Vec<Curve> },
    /// Latency over time.
    Heat(Heat),
    /// Anything else over time.
    Lines { y: String, stepped: bool, at_s: Vec<f64>, lines: Vec<Line> },
    /// A figure of each group, for each of several kinds.
    Bars { y: String, groups: Vec<String>, bars: Vec<Bar> },
}

/// A latency by percentile.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Curve {
    pub(super) name: String,
    /// Number of its colour: curves of one program share theirs.
    pub(super) colour: usize,
    /// 1/(1-p) and microseconds. The last point is the maximum, at the number of values.
    pub(super) points: Vec<(f64, u64)>,
}

/// A name and its values; null where there is none.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) values: Vec<Option<f64>>,
}

/// A name and its value in each group; null where there is none.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) values: Vec<Option<f64>>,
    /// Smallest and largest of repetitions; null where there was one.
    pub(super) ranges: Vec<Option<(f64, f64)>>,
}

/// How often which latency was seen when.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Heat {
    rows_a_decade: u32,
    columns: Vec<Column>,
}

/// A stretch of time.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Column {
    begin_s: f64,
    end_s: f64,
    p50_us: u64,
    p99_us: u64,
    /// Row, and how many values fell into it: those from 10^(row / rows a decade) microseconds.
    cells: Vec<(u32, u64)>,
}

/// The curve of a histogram.
pub(super) fn curve(name: String, colour: usize, us: &Histogram<u64>) -> Curve {
    let mut points: Vec<(f64, u64)> = Vec::new();
    for step in steps(us, TICKS_A_HALF) {
        let at = (100.0 / (100.0 - step.percent)).min(us.len() as f64);
        let value = step.us.max(1);
        match points.last_mut() {
            Some(last) if at <= last.0 => last.1 = value,
            _ => points.push((at, value)),
        }
    }
    Curve { name, colour, points }
}

/// Intervals from which on time is worth an axis.
const INTERVALS_MIN: usize = 3;

/// The heat map of what was kept by interval; None where that is too little to see time pass.
pub(super) fn heat(distribution: &Distribution) -> Result<Option<Heat>, String> {
    let intervals = &distribution.intervals;
    if intervals.len() < INTERVALS_MIN {
        return Ok(None);
    }
    let columns = intervals
        .chunks(intervals.len().div_ceil(PLOT_COLUMNS_MAX).max(1))
        .map(column)
        .collect::<Result<Vec<_>, _>>()?;
    let is_empty = columns.iter().all(|column| column.cells.is_empty());
    Ok((!is_empty).then_some(Heat { rows_a_decade: ROWS_A_DECADE, columns }))
}

fn column(intervals: &[Interval]) -> Result<Column, String> {
    let mut us = new_histogram();
    for interval in intervals {
        us.add(interval.recorded()?).map_err(|why| format!("an interval: {why}"))?;
    }
    let end = |interval: &Interval| interval.begin.saturating_add(interval.length);
    let mut cells: Vec<(u32, u64)> = Vec::new();
    for recorded in us.iter_recorded() {
        let row = row_of(recorded.value_iterated_to());
        let count = recorded.count_at_value();
        match cells.last_mut() {
            Some(last) if last.0 == row => last.1 += count,
            _ => cells.push((row, count)),
        }
    }
    Ok(Column {
        begin_s: intervals.first().map_or(0.0, |first| first.begin.as_secs_f64()),
        end_s: intervals.last().map_or(0.0, |last| end(last).as_secs_f64()),
        p50_us: us.value_at_quantile(0.5),
        p99_us: us.value_at_quantile(0.99),
        cells,
    })
}

fn row_of(us: u64) -> u32 {
    ((us.max(1) as f64).log10() * f64::from(ROWS_A_DECADE)).floor() as u32
}

/// A value of each sample.
type Of = fn(&Sample) -> Option<f64>;

/// The charts of a time series.
#[derive(Debug)]
pub(super) struct Over<'a> {
    chunks: Vec<&'a [Sample]>,
}

impl<'a> Over<'a> {
    pub(super) fn new(series: &'a [Sample]) -> Over<'a> {
        let each = series.len().div_ceil(PLOT_POINTS_MAX).max(1);
        Over { chunks: series.chunks(each).collect() }
    }

    /// Means of what has a rate.
    pub(super) fn means(&self, y: &str, of: &[(&str, Of)]) -> Option<Plot> {
        self.plot(y, true, of, |chunk, of| {
            let values: Vec<f64> = chunk.iter().filter_map(of).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        })
    }

    /// Last values of what has a state.
    pub(super) fn states(&self, y: &str, of: &[(&str, Of)]) -> Option<Plot> {
        self.plot(y, false, of, |chunk, of| chunk.last().and_then(of))
    }

    /// None where no line has a value other than zero.
    fn plot(
        &self,
        y: &str,
        stepped: bool,
        of: &[(&str, Of)],
        one: impl Fn(&[Sample], Of) -> Option<f64>,
    ) -> Option<Plot> {
        let line = |(name, of): &(&str, Of)| Line {
            name: (*name).into(),
            values: self.chunks.iter().map(|chunk| one(chunk, *of)).collect(),
        };
        let shows = |line: &Line| line.values.iter().flatten().any(|value| *value != 0.0);
        let lines: Vec<Line> = of.iter().map(line).filter(shows).collect();
        let end = |chunk: &&[Sample]| chunk.last().map_or(0.0, |sample| sample.at_s);
        let at_s = self.chunks.iter().map(end).collect();
        (!lines.is_empty()).then(|| Plot::Lines { y: y.into(), stepped, at_s, lines })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut us = new_histogram();
        values.into_iter().for_each(|value| us.saturating_record(value));
        us
    }

    #[test]
    fn a_curve_ends_with_the_maximum_at_the_number_of_values() {
        let curve = curve("a".into(), 0, &histogram(1..=1_000));
        assert_eq!(curve.points.first(), Some(&(1.0, 1)));
        assert_eq!(curve.points.last(), Some(&(1_000.0, 1_000)));
        assert!(curve.points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{curve:?}");
        let half = curve.points.iter().find(|(at, _)| *at == 2.0);
        assert_eq!(half, Some(&(2.0, 500)));
    }

    #[test]
    fn a_heat_map_counts_every_value_once_however_long_the_run() {
        let mut distribution = Distribution::new();
        let second = Duration::from_secs(1);
        let intervals = PLOT_COLUMNS_MAX as u32 * 3 - 1;
        for at in 0..intervals {
            distribution.add(second * at, second, &histogram([1, 9, 10, 11, 1_000]));
        }
        let heat = heat(&distribution).unwrap().unwrap();
        assert_eq!(heat.columns.len(), PLOT_COLUMNS_MAX);
        assert_eq!(heat.columns[1].begin_s, 3.0);
        assert_eq!(heat.columns[1].end_s, 6.0);
        assert_eq!(heat.columns[1].cells, [(0, 3), (11, 3), (12, 6), (36, 3)]);
        assert_eq!(heat.columns[1].p50_us, 10);
        let counted = heat.columns.iter().flat_map(|column| &column.cells).map(|cell| cell.1);
        assert_eq!(counted.sum::<u64>(), u64::from(intervals) * 5);
        assert_eq!(super::heat(&Distribution::new()), Ok(None));
    }

    #[test]
    fn long_series_are_thinned_by_means_and_last_values() {
        let series: Vec<Sample> = (0..PLOT_POINTS_MAX * 2)
            .map(|at| Sample {
                at_s: at as f64 + 1.0,
                gb_per_s: if at % 2 == 0 { 1.0 } else { 3.0 },
                connections: at as u64,
                ..Sample::default()
            })
            .collect();
        let over = Over::new(&series);
        let rate = over.means("GB/s", &[("rate", |s| Some(s.gb_per_s)), ("none", |_| None)]);
        let Some(Plot::Lines { at_s, lines, stepped: true, .. }) = rate else {
            panic!("{rate:?}");
        };
        assert_eq!((at_s.len(), at_s[0], lines.len()), (PLOT_POINTS_MAX, 2.0, 1));
        assert!(lines[0].values.iter().all(|value| *value == Some(2.0)));
        let open = over.states("connections", &[("open", |s| Some(s.connections as f64))]);
        let Some(Plot::Lines { lines, stepped: false, .. }) = open else { panic!("{open:?}") };
        assert_eq!(lines[0].values[1], Some(3.0));
        assert_eq!(over.means("nothing", &[("zero", |_| Some(0.0))]), None);
    }
}
