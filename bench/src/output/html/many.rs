//! The page that puts runs side by side.

use super::super::compare::{Cell, Comparison, Figure, Row, cell_text, place, ratio_text};
use super::super::plots::{Bar, Plot, curve};
use super::super::{derived, units};
use super::markup::Markup;
use super::{Page, tables};
use crate::results::{LoadResult, PhaseResult, Results};

pub(super) fn write(
    page: &mut Page,
    runs: &[Results],
    comparison: &Comparison,
) -> anyhow::Result<()> {
    head(page, runs, comparison);
    page.body.raw("<section id=\"ratios\"><h2>Side by side</h2>\n");
    ratios(page, comparison);
    remarks(page, comparison);
    page.body.raw("</section>\n<section id=\"bars\"><h2>All phases</h2>\n<div class=\"pair\">\n");
    for (title, figure) in [
        ("Throughput", Figure::GbPerS),
        ("GB per CPU-second over all cores", Figure::GbPerCpuS),
        ("GB per CPU-second of the target alone", Figure::GbPerTargetCpuS),
        ("Answers a second", Figure::AnswersPerS),
    ] {
        bars(page, comparison, title, &figure);
    }
    page.body.raw("</div></section>\n<section id=\"curves\"><h2>Latency by percentile</h2>\n");
    page.body.raw("<p class=\"note\">A curve for each run: repetitions of a program share its ");
    page.body.raw("colour, and how far they lie apart is its spread.</p>\n<div class=\"pair\">\n");
    curves(page, runs, comparison, false);
    page.body.raw("</div>\n<details><summary><h3>Other latencies</h3><span>connecting, scrapes, ");
    page.body.raw("lateness of the load</span></summary>\n<div class=\"pair\">\n");
    curves(page, runs, comparison, true);
    page.body.raw("</div></details></section>\n<section id=\"runs\"><h2>The runs</h2>\n");
    for run in runs {
        page.body.raw("<details><summary><h3>").text(&run.title).raw("</h3><span>");
        page.body.text(units::moment(run.started_unix_ms)).raw("</span></summary>\n");
        tables::facts(&mut page.body, run);
        tables::summary(&mut page.body, run, false);
        page.body.raw("</details>\n");
    }
    page.body.raw("</section>\n");
    Ok(())
}

fn head(page: &mut Page, runs: &[Results], comparison: &Comparison) {
    let body = &mut page.body;
    body.raw("<header>").within("<h1>", comparison.title(), "</h1>\n");
    let failed = runs.iter().filter(|run| !run.failures.is_empty()).count();
    if failed == 0 {
        body.raw("<p class=\"verdict passed\">All runs passed</p>\n");
    } else {
        body.within("<p class=\"verdict failed\">", failed, " ");
        body.within("of ", runs.len(), " runs failed</p>\n");
    }
    body.raw("<p class=\"byline\">");
    let begun = runs.iter().map(|run| run.started_unix_ms);
    if let (Some(first), Some(last)) = (begun.clone().min(), begun.max()) {
        body.text(units::moment(first)).raw(" to ").text(units::moment(last));
    }
    let machine = runs.first().map(|run| &run.machine);
    if let Some(machine) = machine {
        let facts = [&machine.processor, &machine.kernel, &machine.congestion_control];
        for fact in facts.into_iter().flatten() {
            body.raw(" \u{b7} ").text(fact);
        }
    }
    body.raw("</p></header>\n");
}

/// The table of ratios.
fn ratios(page: &mut Page, comparison: &Comparison) {
    let body = &mut page.body;
    body.raw("<table class=\"figures\"><thead><tr><th class=\"t\">phase and load</th>");
    body.raw("<th class=\"t\">figure</th>");
    for (number, program) in comparison.programs.iter().enumerate() {
        body.within("<th>", &program.title, "");
        if program.runs > 1 {
            body.within("<br><small>median of ", program.runs, "</small>");
        }
        body.raw("</th>");
        if number > 0 {
            body.raw("<th class=\"ratio\">ratio</th>");
        }
    }
    body.raw("</tr></thead><tbody>\n");
    let mut place = "";
    for row in &comparison.rows {
        if place == row.place {
            body.raw("<tr><td class=\"t\"></td>");
        } else {
            place = &row.place;
            body.within("<tr class=\"first\"><td class=\"t\"><b>", place, "</b></td>");
        }
        body.within("<td class=\"t\">", row.figure.words(), "</td>");
        cells(body, row);
        body.raw("</tr>\n");
    }
    let first = comparison.programs.first().map_or("", |program| &program.title);
    body.raw("</tbody></table>\n<p class=\"note\">Ratios are ").text(first);
    body.raw(
        " : the other. <b class=\"better\">Better</b> and <b class=\"worse\">worse</b> are said ",
    );
    body.raw("only where the two differ by more than either differs from itself (in brackets: ");
    body.raw("largest less smallest of its repetitions, by their median); other ratios are grey ");
    body.raw("and say nothing. Latency, memory and errors: lower is better.</p>\n");
}

fn cells(body: &mut Markup, row: &Row) {
    for (number, cell) in row.cells.iter().enumerate() {
        let text = cell.map_or("\u{2013}".into(), |cell| cell_text(&row.figure, &cell));
        body.within("<td>", text, "</td>");
        if number == 0 {
            continue;
        }
        let ratio = cell.and_then(|cell| Some((cell, ratio_text(&cell)?)));
        let Some((cell, text)) = ratio else {
            body.raw("<td class=\"ratio\"></td>");
            continue;
        };
        let above = cell.first_by_this.is_some_and(|ratio| ratio > 1.0);
        body.raw(match (cell.tells, above == row.figure.higher_is_better()) {
            (false, _) => "<td class=\"ratio silent\">",
            (true, true) => "<td class=\"ratio better\">",
            (true, false) => "<td class=\"ratio worse\">",
        });
        body.text(text).raw("</td>");
    }
}

fn remarks(page: &mut Page, comparison: &Comparison) {
    if comparison.remarks.is_empty() {
        return;
    }
    page.body.raw("<div class=\"remarks\"><h3>Before you believe a ratio</h3><ul>\n");
    for remark in &comparison.remarks {
        page.body.within("<li>", remark, "</li>\n");
    }
    page.body.raw("</ul></div>\n");
}

/// A figure of all loads that have it.
fn bars(page: &mut Page, comparison: &Comparison, title: &str, figure: &Figure) {
    let rows: Vec<&Row> = comparison.rows.iter().filter(|row| row.figure == *figure).collect();
    if rows.is_empty() {
        return;
    }
    let programs = comparison.programs.iter().enumerate();
    let bars = programs.map(|(number, program)| {
        let cells = || rows.iter().map(move |row| row.cells.get(number).copied().flatten());
        let range = |cell: Cell| cell.spread.map(|_| (cell.smallest, cell.largest));
        Bar {
            name: program.title.clone(),
            values: cells().map(|cell| Some(cell?.median)).collect(),
            ranges: cells().map(|cell| range(cell?)).collect(),
        }
    });
    let (y, bars) = (figure.words(), bars.collect());
    let plot = Plot::Bars { y, groups: rows.iter().map(|row| row.place.clone()).collect(), bars };
    page.figure(title, "medians, with smallest and largest; higher is better", plot);
}

/// A chart for each load: of what it measures above all, or (`other`) of everything else, where
/// more than one program has it.
fn curves(page: &mut Page, runs: &[Results], comparison: &Comparison, other: bool) {
    let mut drawn: Vec<(&str, &str, &str)> = Vec::new();
    for (_, phase, load) in loads(runs) {
        let primary = derived::primary(load).map(|(metric, _)| metric);
        for (metric, _) in derived::latencies(load) {
            let place = (phase.name.as_str(), load.name.as_str(), metric);
            if !drawn.contains(&place) && (primary == Some(metric)) != other {
                drawn.push(place);
            }
        }
    }
    for (phase_name, load_name, metric) in drawn {
        let same = loads(runs)
            .filter(|(_, phase, load)| (&*phase.name, &*load.name) == (phase_name, load_name));
        let curves: Vec<_> = same
            .filter_map(|(run, _, load)| {
                let us = &load.latencies.get(metric)?.total;
                let colour = comparison.programs.iter().position(|p| p.title == run.title)?;
                (!us.is_empty()).then(|| curve(run.title.clone(), colour, us))
            })
            .collect();
        let first = curves.first().map(|curve| curve.colour);
        let of_one = curves.iter().all(|curve| Some(curve.colour) == first);
        if of_one && comparison.programs.len() > 1 {
            continue;
        }
        let place = place(phase_name, load_name, runs);
        let title = format!("{place}: {}", derived::metric_words(metric));
        page.figure(&title, "lower is better", Plot::Percentiles { curves });
    }
}

fn loads(runs: &[Results]) -> impl Iterator<Item = (&Results, &PhaseResult, &LoadResult)> {
    runs.iter().flat_map(|run| {
        run.phases.iter().flat_map(move |phase| phase.loads.iter().map(move |l| (run, phase, l)))
    })
}
