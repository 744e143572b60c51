//! The percentile distribution that plotters of HdrHistograms read: one line a step, times in milliseconds.

use std::fmt::Write as _;

use crate::distribution::Distribution;

/// Steps for each halving of the distance to 100 %.
const STEPS: u32 = 5;

/// A distribution as text. Comments after it give the mean, the deviation and the maximum.
pub fn text(times: &Distribution) -> String {
    let histogram = times.histogram();
    let milliseconds = |nanoseconds: f64| nanoseconds / 1e6;
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut counted = 0;
    for step in histogram.iter_quantiles(STEPS) {
        counted += step.count_since_last_iteration();
        let value = milliseconds(step.value_iterated_to() as f64);
        let share = step.quantile_iterated_to();
        // Writing into a string cannot fail.
        let _ = match share < 1.0 {
            true => writeln!(text, "{value:12.3} {share:14.12} {counted:10} {:14.2}", 1.0 / (1.0 - share)),
            false => writeln!(text, "{value:12.3} {share:14.12} {counted:10}"),
        };
    }
    let mean = milliseconds(histogram.mean());
    let deviation = milliseconds(histogram.stdev());
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let max = milliseconds(histogram.max() as f64);
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    text
}
