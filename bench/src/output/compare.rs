//! Runs side by side: medians of repetitions, their spread, and ratios to the first program.

use std::fmt;

use anyhow::bail;

use super::{derived, doubts, units};
use crate::results::{LoadResult, PhaseResult, Results};

/// Runs side by side.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Titles in the order in which they first came; runs with the same are repetitions.
    pub programs: Vec<Program>,
    pub rows: Vec<Row>,
    /// What the reader must know: other machines, failures, what is missing.
    pub remarks: Vec<String>,
}

/// What runs of one title are of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    pub title: String,
    /// How many runs; figures are their medians.
    pub runs: usize,
}

/// A figure of a load, of each program.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Phase and load as reports call them; the load only where a phase has several.
    pub place: String,
    pub figure: Figure,
    /// In the order of the programs; None where a program has no such figure.
    pub cells: Vec<Option<Cell>>,
}

/// What a row tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Figure {
    /// 10^9 bytes of blocks a second.
    GbPerS,
    /// Blocks or answers a second.
    AnswersPerS,
    /// 10^9 bytes of blocks a second of CPU time over all cores.
    GbPerCpuS,
    /// The same of the target alone.
    GbPerTargetCpuS,
    /// A latency at 1/10,000ths: microseconds.
    Latency { metric: String, of_10_000: u16 },
    /// Bytes of memory that a silent connection costs: all that the cgroup counts but files.
    IdleBytes,
    /// Errors and lost connections.
    Bad,
}

/// A program's figure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cell {
    pub median: f64,
    /// Of the repetitions.
    pub smallest: f64,
    pub largest: f64,
    /// Largest less smallest, by the median; of repetitions.
    pub spread: Option<f64>,
    /// The first program's median by this one's. None for the first itself, and by zero.
    pub first_by_this: Option<f64>,
    /// Whether the two differ by more than either differs from itself.
    pub tells: bool,
}

impl Figure {
    /// In words, without the unit.
    pub(super) fn words(&self) -> String {
        match self {
            Figure::GbPerS => "rate, GB/s".into(),
            Figure::AnswersPerS => "rate, answers/s".into(),
            Figure::GbPerCpuS => "GB per CPU-s, all cores".into(),
            Figure::GbPerTargetCpuS => "GB per CPU-s, target".into(),
            Figure::Latency { metric, of_10_000 } => {
                let percent = f64::from(*of_10_000) / 100.0;
                format!("{}, p{percent}", derived::metric_words(metric))
            }
            Figure::IdleBytes => "memory of a silent connection".into(),
            Figure::Bad => "errors and losses".into(),
        }
    }

    pub(super) fn higher_is_better(&self) -> bool {
        use Figure::*;
        matches!(self, GbPerS | AnswersPerS | GbPerCpuS | GbPerTargetCpuS)
    }

    /// With its unit.
    pub(super) fn value_text(&self, value: f64) -> String {
        match self {
            Figure::Latency { .. } => units::time(value.round() as u64),
            Figure::IdleBytes => units::bytes(value),
            Figure::Bad if value.fract() == 0.0 => units::count(value as u64),
            _ => units::number(value),
        }
    }
}

/// Puts runs side by side, matched by names of phases and loads. Needs two runs.
pub fn compare(runs: &[Results]) -> anyhow::Result<Comparison> {
    let mut programs: Vec<Program> = Vec::new();
    for run in runs {
        match programs.iter_mut().find(|program| program.title == run.title) {
            Some(program) => program.runs += 1,
            None => programs.push(Program { title: run.title.clone(), runs: 1 }),
        }
    }
    if runs.len() < 2 {
        bail!("{} run; side by side takes at least two", runs.len());
    }
    let rows = keys(runs).into_iter().map(|key| row(key, runs, &programs));
    // That nothing went wrong anywhere is no news.
    let is_news = |row: &Row| {
        row.figure != Figure::Bad || row.cells.iter().flatten().any(|cell| cell.median != 0.0)
    };
    let rows = rows.filter(is_news).collect();
    let remarks = doubts::of(runs, &programs);
    Ok(Comparison { programs, rows, remarks })
}

/// Which row: phase, load, figure.
type Key = (String, String, Figure);

/// All rows, in the order in which they first come.
fn keys(runs: &[Results]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    // The order of phases and loads of the first run that has them, whatever runs come later.
    let mut places: Vec<(&str, &str)> = Vec::new();
    for (phase, load) in runs.iter().flat_map(loads) {
        let place = (phase.name.as_str(), load.name.as_str());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    for (phase_name, load_name) in places {
        for (phase, load) in runs.iter().flat_map(loads) {
            if (phase.name.as_str(), load.name.as_str()) != (phase_name, load_name) {
                continue;
            }
            for (figure, _) in figures(phase, load) {
                let key = (phase_name.to_owned(), load_name.to_owned(), figure);
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
    }
    keys
}

pub(super) fn loads(run: &Results) -> impl Iterator<Item = (&PhaseResult, &LoadResult)> {
    run.phases.iter().flat_map(|phase| phase.loads.iter().map(move |load| (phase, load)))
}

/// The figures of a load.
fn figures(phase: &PhaseResult, load: &LoadResult) -> Vec<(Figure, f64)> {
    let mut figures = Vec::new();
    let mut push = |figure, value: Option<f64>| figures.extend(value.map(|value| (figure, value)));
    let gb_per_s = derived::gb_per_s(phase, load);
    push(Figure::GbPerS, gb_per_s);
    if gb_per_s.is_none() {
        push(Figure::AnswersPerS, derived::answers_per_s(phase, load));
    }
    // CPU time is the phase's: where loads share it, it is told beside the first.
    if phase.loads.first().is_some_and(|first| first.name == load.name) {
        push(Figure::GbPerCpuS, phase.cost.gb_per_cpu_s);
        push(Figure::GbPerTargetCpuS, phase.cost.gb_per_target_cpu_s);
        let idle = derived::idle_cost(phase);
        push(Figure::IdleBytes, idle.and_then(|cost| cost.cgroup_less_file.or(cost.anonymous)));
    }
    if let Some((metric, distribution)) = derived::primary(load) {
        for of_10_000 in [5_000, 9_900, 9_990] {
            let us = distribution.total.value_at_quantile(f64::from(of_10_000) / 10_000.0);
            let figure = Figure::Latency { metric: metric.to_owned(), of_10_000 };
            push(figure, Some(us as f64));
        }
    }
    push(Figure::Bad, Some(load.counts.errors.saturating_add(load.counts.lost) as f64));
    figures
}

fn row((phase, load, figure): Key, runs: &[Results], programs: &[Program]) -> Row {
    let value = |run: &Results| {
        let (phase, load) =
            loads(run).find(|(p, l)| (p.name.as_str(), l.name.as_str()) == (&*phase, &*load))?;
        figures(phase, load).into_iter().find(|(f, _)| *f == figure).map(|(_, value)| value)
    };
    let mut cells: Vec<Option<Cell>> = programs
        .iter()
        .map(|program| {
            let mine = runs.iter().filter(|run| run.title == program.title);
            cell(mine.filter_map(value).collect())
        })
        .collect();
    if let Some((Some(first), others)) = cells.split_first_mut() {
        for other in others.iter_mut().flatten() {
            let difference = (first.median - other.median).abs();
            let own = |cell: &Cell| cell.spread.unwrap_or(0.0) * cell.median.abs();
            other.tells = difference > own(first).max(own(other));
            other.first_by_this = (other.median != 0.0).then(|| first.median / other.median);
        }
    }
    Row { place: place(&phase, &load, runs), figure, cells }
}

/// How a load is called beside others.
pub(super) fn place(phase: &str, load: &str, runs: &[Results]) -> String {
    let mut same = runs.iter().flat_map(loads).filter(|(it, _)| it.name == phase);
    match phase == load || same.all(|(_, other)| other.name == load) {
        true => phase.to_owned(),
        false => format!("{phase} / {load}"),
    }
}

fn cell(mut values: Vec<f64>) -> Option<Cell> {
    values.sort_by(f64::total_cmp);
    let (smallest, largest) = (*values.first()?, *values.last()?);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    let median = (lower + upper) / 2.0;
    let spread = (values.len() > 1 && median != 0.0).then(|| (largest - smallest) / median.abs());
    Some(Cell { median, smallest, largest, spread, first_by_this: None, tells: false })
}

impl Comparison {
    /// `a, b and c`.
    pub(super) fn title(&self) -> String {
        let titles: Vec<&str> = self.programs.iter().map(|program| &*program.title).collect();
        match titles.split_last() {
            Some((last, [])) => format!("Runs of {last}"),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

/// A value with its spread.
pub(super) fn cell_text(figure: &Figure, cell: &Cell) -> String {
    let value = figure.value_text(cell.median);
    match cell.spread {
        Some(spread) => format!("{value} ({:.1}%)", spread * 100.0),
        None => value,
    }
}

/// A table in Markdown, aligned for the terminal, and what must be known beside it.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<Vec<String>> = vec![self.head()];
        for row in &self.rows {
            lines.push(self.line(row));
        }
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let columns = lines.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, line) in lines.iter().enumerate() {
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "| {cell:width$} |")?,
                    1 => write!(f, " {cell:width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if number == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let rule = "-".repeat(width + if column < 2 { 2 } else { 1 });
                    let end = if column < 2 { "" } else { ":" };
                    write!(f, "{}{rule}{end}|", if column == 0 { "|" } else { "" })?;
                }
                writeln!(f)?;
            }
        }
        if let [first, _, ..] = self.programs.as_slice() {
            let first = &first.title;
            write!(
                f,
                "\nRatios are {first} : the other; ~ where the two differ by no more than one "
            )?;
            write!(f, "of them from itself.")?;
        }
        if self.programs.iter().any(|program| program.runs > 1) {
            write!(f, "\nIn brackets: largest less smallest of the repetitions, by their median.")?;
        }
        self.remarks.iter().try_for_each(|remark| write!(f, "\n- {remark}"))
    }
}

impl Comparison {
    fn head(&self) -> Vec<String> {
        let mut head = vec!["phase / load".to_owned(), "figure".to_owned()];
        for (number, program) in self.programs.iter().enumerate() {
            let runs = if program.runs > 1 { format!(" x{}", program.runs) } else { String::new() };
            // A bar would end the cell.
            head.push(format!("{}{runs}", program.title.replace(['|', '\n'], "/")));
            if number > 0 {
                head.push("ratio".into());
            }
        }
        head
    }

    fn line(&self, row: &Row) -> Vec<String> {
        let mut line = vec![row.place.replace(['|', '\n'], "/"), row.figure.words()];
        for (number, cell) in row.cells.iter().enumerate() {
            line.push(cell.map_or("-".into(), |cell| cell_text(&row.figure, &cell)));
            if number > 0 {
                line.push(cell.and_then(|cell| ratio_text(&cell)).unwrap_or_default());
            }
        }
        line
    }
}

/// `1.32`; `~1.01` where it says nothing.
pub(super) fn ratio_text(cell: &Cell) -> Option<String> {
    let ratio = cell.first_by_this?;
    Some(format!("{}{ratio:.2}", if cell.tells { "" } else { "~" }))
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
