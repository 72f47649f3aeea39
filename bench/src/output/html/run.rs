//! The page of one run, from the verdict down to single phases.

use anyhow::anyhow;

use super::super::plots::{Bar, Over, Plot, curve, heat};
use super::super::remarks::together;
use super::super::{derived, units};
use super::{Page, tables};
use crate::results::{PhaseResult, Results};

/// The unit of memory in charts.
const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn write(page: &mut Page, results: &Results) -> anyhow::Result<()> {
    head(page, results);
    tables::facts(&mut page.body, results);
    page.body.raw("<section id=\"summary\"><h2>Summary</h2>\n");
    tables::summary(&mut page.body, results, true);
    remarks(page, results);
    page.body.raw("</section>\n");
    overview(page, results);
    tables::checks(&mut page.body, results);
    tables::idle(&mut page.body, results);
    for (number, phase) in results.phases.iter().enumerate() {
        phase_section(page, number, phase)?;
    }
    Ok(())
}

fn head(page: &mut Page, results: &Results) {
    let body = &mut page.body;
    body.raw("<header>").within("<h1>", &results.title, "</h1>\n");
    let Results { failures, started_unix_ms, elapsed_s, program, .. } = results;
    let passed = failures.is_empty();
    body.raw(if passed { "<p class=\"verdict passed\">" } else { "<p class=\"verdict failed\">" });
    match failures.len() {
        0 => body.raw("Passed"),
        1 => body.raw("Failed"),
        failures => body.within("Failed in ", failures, " points"),
    };
    body.raw("</p>\n<p class=\"byline\">");
    body.text(units::moment(*started_unix_ms)).raw(" \u{b7} ");
    body.text(units::duration(*elapsed_s)).raw(" \u{b7} ").text(program);
    body.raw("</p></header>\n");
    if !passed {
        body.raw("<ul class=\"failures\">");
        for failure in failures {
            body.within("<li>", failure, "</li>");
        }
        body.raw("</ul>\n");
    }
}

fn remarks(page: &mut Page, results: &Results) {
    let body = &mut page.body;
    if results.phases.iter().all(|phase| phase.remarks.is_empty()) {
        return;
    }
    body.raw("<div class=\"remarks\"><h3>Before you believe a figure</h3><ul>\n");
    let all = results.phases.iter().flat_map(|phase| {
        phase.remarks.iter().map(|remark| (phase.name.as_str(), remark.as_str()))
    });
    for told in together(all) {
        body.within("<li><b>", told.places_text(results.phases.len()), "</b>: ");
        body.text(told.text()).raw("</li>\n");
    }
    body.raw("</ul></div>\n");
}

/// Charts over all phases.
fn overview(page: &mut Page, results: &Results) {
    let curves: Vec<_> = results
        .phases
        .iter()
        .flat_map(|phase| phase.loads.iter().map(move |load| (phase, load)))
        .filter_map(|(phase, load)| Some((phase, load, derived::primary(load)?)))
        .enumerate()
        .map(|(number, (phase, load, (metric, distribution)))| {
            let mut name = derived::load_title(phase, load);
            if metric != "request_to_piece" {
                name += &format!(" ({})", derived::metric_words(metric));
            }
            curve(name, number, &distribution.total)
        })
        .collect();
    let paid: Vec<&PhaseResult> =
        results.phases.iter().filter(|phase| phase.cost.gb_per_cpu_s.is_some()).collect();
    if curves.is_empty() && paid.is_empty() {
        return;
    }
    page.body.raw("<section id=\"overview\"><h2>All phases</h2>\n<div class=\"pair\">\n");
    if !curves.is_empty() {
        let note = "request to piece unless told; both axes logarithmic, lower is better";
        page.figure("Latency by percentile", note, Plot::Percentiles { curves });
    }
    if !paid.is_empty() {
        let bar = |name: &str, of: fn(&PhaseResult) -> Option<f64>| Bar {
            name: name.into(),
            values: paid.iter().map(|phase| of(phase)).collect(),
            ranges: vec![None; paid.len()],
        };
        let bars = vec![
            bar("over all cores", |phase| phase.cost.gb_per_cpu_s),
            bar("of the target alone", |phase| phase.cost.gb_per_target_cpu_s),
        ];
        let bars = bars.into_iter().filter(|bar| bar.values.iter().any(Option::is_some)).collect();
        let groups = paid.iter().map(|phase| phase.name.clone()).collect();
        let plot = Plot::Bars { y: "GB per CPU-second".into(), groups, bars };
        page.figure("GB per CPU-second", "higher is better", plot);
    }
    page.body.raw("</div></section>\n");
}

fn phase_section(page: &mut Page, number: usize, phase: &PhaseResult) -> anyhow::Result<()> {
    page.body.numbered("<details id=\"phase-", number, "\" open><summary>");
    page.body.within("<h2>", &phase.name, "</h2>");
    page.body.within("<span>", units::duration(phase.seconds), "</span></summary>\n");
    for remark in &phase.remarks {
        page.body.within("<p class=\"remark\">", remark, "</p>\n");
    }
    tables::latencies(&mut page.body, phase);
    page.body.raw("<div class=\"pair\">\n");
    latency_figures(page, phase)?;
    time_figures(page, phase);
    page.body.raw("</div>\n");
    tables::cost(&mut page.body, phase);
    tables::errors(&mut page.body, phase);
    page.body.raw("</details>\n");
    Ok(())
}

fn latency_figures(page: &mut Page, phase: &PhaseResult) -> anyhow::Result<()> {
    let mut curves = Vec::new();
    for load in &phase.loads {
        for (metric, distribution) in derived::latencies(load) {
            let mut name = derived::metric_words(metric);
            if phase.loads.len() > 1 {
                name = format!("{}: {name}", load.name);
            }
            curves.push(curve(name, curves.len(), &distribution.total));
        }
    }
    if !curves.is_empty() {
        let note = "both axes logarithmic; the last point of a curve is its maximum";
        page.figure("Latency by percentile", note, Plot::Percentiles { curves });
    }
    for load in &phase.loads {
        let Some((metric, distribution)) = derived::primary(load) else { continue };
        let map = heat(distribution)
            .map_err(|why| anyhow!("phase '{}', load '{}': {why}", phase.name, load.name))?;
        if let Some(map) = map {
            let mut title = format!("Latency over time: {}", derived::metric_words(metric));
            if phase.loads.len() > 1 {
                title = format!("{title}, {}", load.name);
            }
            page.figure(&title, "each cell: how many took so long", Plot::Heat(map));
        }
    }
    Ok(())
}

fn time_figures(page: &mut Page, phase: &PhaseResult) {
    let over = Over::new(&phase.series);
    let gb = over.means("GB/s", &[("blocks", |sample| Some(sample.gb_per_s))]);
    let rate = gb.or_else(|| {
        over.means("answers a second", &[("answers", |sample| Some(sample.answers_per_s))])
    });
    if let Some(plot) = rate {
        page.figure("Throughput", "mean of each interval", plot);
    }
    let cpu = over.means(
        "cores busy",
        &[
            ("all cores", |sample| Some(sample.busy_cores)),
            ("the target", |sample| sample.target_cores),
            ("the load", |sample| Some(sample.own_cores)),
        ],
    );
    if let Some(plot) = cpu {
        page.figure("CPU", "1.0 is one core", plot);
    }
    let memory = over.states(
        "MiB",
        &[
            ("anonymous", |sample| Some(sample.memory.anonymous_bytes? as f64 / MIB)),
            ("cgroup less file", |sample| Some(sample.memory.cgroup_less_file_bytes? as f64 / MIB)),
        ],
    );
    if let Some(plot) = memory {
        page.figure("Memory of the target", "at the end of each interval", plot);
    }
    let held = over.states(
        "connections, descriptors",
        &[
            ("connections", |sample| Some(sample.connections as f64)),
            ("descriptors of the target", |sample| Some(sample.memory.descriptors? as f64)),
        ],
    );
    if let Some(plot) = held {
        page.figure("Connections and descriptors", "at the end of each interval", plot);
    }
    let errors = over.means("errors an interval", &[("errors", |s| Some(s.errors as f64))]);
    if let Some(plot) = errors {
        page.figure("Errors", "answers that were errors, or never came", plot);
    }
}
