//! Percentile files, as HistogramLogProcessor and `outputPercentileDistribution` of HdrHistogram
//! write them: what the plotters of that family read.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Steps in each half of the distance to 100 %, as in HistogramLogProcessor.
const TICKS_A_HALF: u32 = 5;

/// The file of a histogram of microseconds; its values are milliseconds, which those plotters take
/// for granted, with the microseconds as digits behind the point.
pub(super) fn text(histogram: &Histogram<u64>) -> String {
    let ms = |us: u64| us as f64 / 1e3;
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{arguments}");
    };
    line(format_args!(
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    ));
    for Step { us, percent, count } in steps(histogram, TICKS_A_HALF) {
        let (value, quantile) = (ms(us), percent / 100.0);
        if percent < 100.0 {
            let distance = 1.0 / (1.0 - quantile);
            line(format_args!("{value:12.3} {quantile:2.12} {count:10} {distance:14.2}"));
        } else {
            line(format_args!("{value:12.3} {quantile:2.12} {count:10}"));
        }
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    line(format_args!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]"));
    let (max, total) = (ms(histogram.max()), histogram.len());
    line(format_args!("#[Max     = {max:12.3}, Total count    = {total:12}]"));
    let (buckets, sub_buckets) = (histogram.buckets(), sub_buckets(histogram.sigfig()));
    line(format_args!("#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]"));
    line(format_args!("#[Unit    = milliseconds]"));
    text
}

/// A point of a distribution by percentile.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Step {
    /// The largest time that is not told apart from the one at this percentile.
    pub(super) us: u64,
    pub(super) percent: f64,
    /// Values up to it.
    pub(super) count: u64,
}

/// Percentiles in steps that get finer towards 100, as the reference takes them: `ticks_a_half` from
/// each point to the middle between it and 100. The quantiles of this language's library round
/// otherwise where a percentile falls on a value exactly.
pub(super) fn steps(histogram: &Histogram<u64>, ticks_a_half: u32) -> Vec<Step> {
    let total = histogram.len();
    let mut steps = Vec::new();
    let mut level = 0.0;
    let mut count = 0;
    for recorded in histogram.iter_recorded() {
        count += recorded.count_at_value();
        let us = histogram.highest_equivalent(recorded.value_iterated_to());
        while 100.0 * count as f64 / total as f64 >= level {
            steps.push(Step { us, percent: level, count });
            if count >= total {
                break;
            }
            let halvings = (100.0 / (100.0 - level)).log2().floor() as i32;
            level += 100.0 / (f64::from(ticks_a_half) * 2.0_f64.powi(halvings + 1));
        }
    }
    let last = steps.last().copied();
    steps.extend(last.map(|last| Step { percent: 100.0, ..last }));
    steps
}

/// Enough for single units up to twice ten to the power of the digits.
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10_u64.saturating_pow(digits.into())).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::distribution::new_histogram;

    #[test]
    fn the_file_is_what_the_reference_prints() {
        let mut us = new_histogram();
        [70, 70, 70, 70, 70, 70, 150, 400, 3_000, 2_500_000]
            .into_iter()
            .for_each(|value| us.saturating_record(value));
        // Steps as `outputPercentileDistribution(stream, 5, 1000.0)` takes them; mean, deviation,
        // maximum and buckets as the Python package prints them for the same values.
        let wanted = "       Value     Percentile TotalCount 1/(1-Percentile)

       0.070 0.000000000000          6           1.00
       0.070 0.100000000000          6           1.11
       0.070 0.200000000000          6           1.25
       0.070 0.300000000000          6           1.43
       0.070 0.400000000000          6           1.67
       0.070 0.500000000000          6           2.00
       0.070 0.550000000000          6           2.22
       0.070 0.600000000000          6           2.50
       0.150 0.650000000000          7           2.86
       0.150 0.700000000000          7           3.33
       0.400 0.750000000000          8           4.00
       0.400 0.775000000000          8           4.44
       0.400 0.800000000000          8           5.00
       3.001 0.825000000000          9           5.71
       3.001 0.850000000000          9           6.67
       3.001 0.875000000000          9           8.00
       3.001 0.887500000000          9           8.89
       3.001 0.900000000000          9          10.00
    2500.607 0.912500000000         10          11.43
    2500.607 1.000000000000         10
#[Mean    =      250.356, StdDeviation   =      749.743]
#[Max     =     2500.607, Total count    =           10]
#[Buckets =           17, SubBuckets     =         2048]
#[Unit    = milliseconds]
";
        let made = text(&us);
        assert_eq!(made, wanted, "made:\n{made}");
    }
}
