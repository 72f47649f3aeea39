//! Tables of a run's page.

use hdrhistogram::Histogram;

use super::super::{derived, units};
use super::markup::Markup;
use crate::results::{LoadResult, Machine, PhaseResult, Results};

/// What stands where there is no figure.
const NONE: &str = "\u{2013}";

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| NONE.into())
}

/// The exact command, the machine and the target.
pub(super) fn facts(body: &mut Markup, results: &Results) {
    body.raw("<section id=\"facts\">\n<div class=\"command\"><h3>Command</h3><pre>");
    body.text(shell(&results.command)).raw("</pre></div>\n<div class=\"pair\">\n");
    body.raw("<dl><h3>Machine</h3>\n");
    machine(body, &results.machine);
    body.raw("</dl>\n<dl><h3>Target</h3>\n");
    let target = &results.target;
    fact(body, "address", target.address.as_ref());
    for tracker in &target.tracker {
        fact(body, "tracker", Some(tracker));
    }
    fact(body, "infohash", target.info_hash.as_ref());
    if target.total_bytes > 0 {
        let total = units::bytes(target.total_bytes as f64);
        let piece = units::bytes(target.piece_bytes.into());
        fact(body, "content", Some(format!("{total} in pieces of {piece}")));
    }
    fact(body, "process", target.pid);
    fact(body, "its command", target.command.as_ref());
    body.raw("</dl></div></section>\n");
}

fn machine(body: &mut Markup, machine: &Machine) {
    fact(body, "kernel", machine.kernel.as_ref());
    let processor = machine.processor.as_deref().unwrap_or("unknown processor");
    fact(body, "processor", Some(format!("{processor}, {} cores", machine.cores)));
    fact(body, "memory", machine.memory_bytes.map(|bytes| units::bytes(bytes as f64)));
    fact(body, "congestion control", machine.congestion_control.as_ref());
    fact(body, "qdisc", machine.qdisc.as_ref());
    fact(body, "governor", machine.governor.as_ref());
    let (load, target) = (units::cores(&machine.swarm_cores), units::cores(&machine.target_cores));
    fact(body, "on cores", Some(format!("load {load}; target {target}")));
    let namespaces = match machine.namespaces {
        0 => "none of its own: the host's".to_owned(),
        number => number.to_string(),
    };
    fact(body, "namespaces", Some(namespaces));
}

fn fact(body: &mut Markup, name: &str, value: Option<impl std::fmt::Display>) {
    body.within("<dt>", name, "</dt>");
    match value {
        Some(value) => body.within("<dd>", value, "</dd>\n"),
        None => body.raw("<dd class=\"none\">unknown</dd>\n"),
    };
}

/// A command as a shell takes it.
pub(super) fn shell(command: &[String]) -> String {
    let is_plain = |word: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        !word.is_empty() && word.chars().all(plain)
    };
    let quoted = command.iter().map(|word| match is_plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A row for each load of each phase; with `links` to the phases further down.
pub(super) fn summary(body: &mut Markup, results: &Results, links: bool) {
    body.raw(
        "<table class=\"figures\"><thead><tr><th rowspan=\"2\" class=\"t\">phase and load</th>\
         <th rowspan=\"2\">GB/s</th><th rowspan=\"2\">answers/s</th>\
         <th colspan=\"5\" class=\"group\">latency</th>\
         <th colspan=\"3\" class=\"group\">GB per CPU-second</th>\
         <th rowspan=\"2\">errors</th><th rowspan=\"2\">lost</th></tr>\n<tr><th>p50</th><th>p90</th>\
         <th>p99</th><th>p99.9</th><th>max</th><th>all cores</th><th>target</th><th>load</th>\
         </tr></thead>\n<tbody>\n",
    );
    for (place, phase) in results.phases.iter().enumerate() {
        for (number, load) in phase.loads.iter().enumerate() {
            body.raw(if number == 0 {
                "<tr class=\"first\"><td class=\"t\">"
            } else {
                "<tr><td class=\"t\">"
            });
            if links {
                body.numbered("<a href=\"#phase-", place, "\">");
            }
            body.within("<b>", derived::load_title(phase, load), "</b>");
            body.raw(if links { "</a><br>" } else { "<br>" });
            summary_row(body, phase, load);
            if number == 0 {
                cost_cells(body, phase);
            }
            bad(body, load.counts.errors);
            bad(body, load.counts.lost);
            body.raw("</tr>\n");
        }
    }
    body.raw("</tbody></table>\n");
    body.raw(
        "<p class=\"note\">Latency is from request to piece, for an announce to its answer, for \
         churn and silent connections from connect(2) to the unchoke. CPU time is of the whole \
         phase. \u{201c}Load\u{201d} is this program: where its figure comes near the rate by the \
         cores it runs on, it was what stopped the target, and a remark says so.</p>\n",
    );
}

fn summary_row(body: &mut Markup, phase: &PhaseResult, load: &LoadResult) {
    body.within("<small>", derived::asked(load), "</small></td>");
    let rate = |rate: Option<f64>| or_none(rate.map(units::number));
    body.within("<td>", rate(derived::gb_per_s(phase, load)), "</td>");
    body.within("<td>", rate(derived::answers_per_s(phase, load)), "</td>");
    quantile_cells(body, derived::primary(load).map(|(_, distribution)| &distribution.total));
}

fn quantile_cells(body: &mut Markup, us: Option<&Histogram<u64>>) {
    let Some(us) = us else {
        (0..5).for_each(|_| {
            body.within("<td>", NONE, "</td>");
        });
        return;
    };
    for quantile in [0.5, 0.9, 0.99, 0.999] {
        body.within("<td>", units::time(us.value_at_quantile(quantile)), "</td>");
    }
    body.within("<td>", units::time(us.max()), "</td>");
}

fn cost_cells(body: &mut Markup, phase: &PhaseResult) {
    let cost = &phase.cost;
    for gb in [cost.gb_per_cpu_s, cost.gb_per_target_cpu_s, cost.gb_per_own_cpu_s] {
        body.numbered("<td rowspan=\"", phase.loads.len(), "\">");
        body.text(or_none(gb.map(units::number))).raw("</td>");
    }
}

fn bad(body: &mut Markup, number: u64) {
    body.raw(if number == 0 { "<td>" } else { "<td class=\"bad\">" });
    body.text(units::count(number)).raw("</td>");
}

/// Questions with a yes or no.
pub(super) fn checks(body: &mut Markup, results: &Results) {
    let loads = || results.phases.iter().flat_map(|p| p.loads.iter().map(move |load| (p, load)));
    if loads().all(|(_, load)| load.checks.is_empty()) {
        return;
    }
    body.raw("<section id=\"checks\"><h2>Checks</h2>\n<table class=\"words\"><thead><tr>");
    body.raw("<th>phase</th><th>check</th><th></th><th>what was seen</th></tr></thead><tbody>\n");
    for (phase, load) in loads() {
        for check in &load.checks {
            body.within("<tr><td>", derived::load_title(phase, load), "</td>");
            body.within("<td>", &check.name, "</td>");
            body.raw(match check.passed {
                true => "<td class=\"good\">\u{2713} passed</td>",
                false => "<td class=\"bad\">\u{2717} not passed</td>",
            });
            body.within("<td>", &check.saw, "</td></tr>\n");
        }
    }
    body.raw("</tbody></table></section>\n");
}

/// What silent connections cost the target.
pub(super) fn idle(body: &mut Markup, results: &Results) {
    let costs = || results.phases.iter().filter_map(|p| Some((p, derived::idle_cost(p)?)));
    if costs().next().is_none() {
        return;
    }
    body.raw("<section id=\"idle\"><h2>Memory of a silent connection</h2>\n");
    body.raw("<table class=\"figures narrow\"><thead><tr><th class=\"t\">phase</th>");
    body.raw("<th>connections held</th><th>anonymous, each</th><th>cgroup less file, each</th>");
    body.raw("</tr></thead><tbody>\n");
    for (phase, cost) in costs() {
        body.within("<tr><td class=\"t\"><b>", &phase.name, "</b></td>");
        body.within("<td>", units::count(cost.connections), "</td>");
        for bytes in [cost.anonymous, cost.cgroup_less_file] {
            body.within("<td>", or_none(bytes.map(units::bytes)), "</td>");
        }
        body.raw("</tr>\n");
    }
    body.raw(
        "</tbody></table>\n<p class=\"note\">What the target's memory has grown by when the phase ends, by the connections that are open then. Anonymous: its process. Cgroup less file: its cgroup ");
    body.raw("without the page cache; sockets and other kernel memory count.</p></section>\n");
}

/// All latencies of a phase.
pub(super) fn latencies(body: &mut Markup, phase: &PhaseResult) {
    let recorded = || {
        let all = |load| derived::latencies(load).into_iter().map(move |(name, d)| (load, name, d));
        phase.loads.iter().flat_map(all)
    };
    if recorded().next().is_none() {
        return;
    }
    body.raw("<table class=\"figures\"><thead><tr><th class=\"t\">latency</th><th>recorded</th>");
    body.raw("<th>mean</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>");
    body.raw("</thead><tbody>\n");
    for (load, name, distribution) in recorded() {
        let words = derived::metric_words(name);
        body.raw("<tr><td class=\"t\">");
        if phase.loads.len() > 1 {
            body.within("<b>", &load.name, "</b> ");
        }
        body.text(words).raw("</td>");
        body.within("<td>", units::count(distribution.total.len()), "</td>");
        body.within("<td>", units::time(distribution.total.mean().round() as u64), "</td>");
        quantile_cells(body, Some(&distribution.total));
        body.raw("</tr>\n");
    }
    body.raw("</tbody></table>\n");
}

/// Where CPU time went.
pub(super) fn cost(body: &mut Markup, phase: &PhaseResult) {
    let cost = &phase.cost;
    if cost.elapsed_s <= 0.0 {
        return;
    }
    let cores = |cpu_s| format!("{:.2}", derived::cores_busy(phase, cpu_s));
    body.raw("<p class=\"note\">Cores busy, mean of the phase: <b>");
    body.within("", cores(cost.busy_s), "</b> in all");
    if let Some(target_s) = cost.target_s {
        body.within(", the target <b>", cores(target_s), "</b>");
    }
    body.within(", the load <b>", cores(cost.own_s), "</b>; ");
    let kinds = [
        ("user", cost.user_s),
        ("system", cost.system_s),
        ("interrupts", cost.irq_s),
        ("soft interrupts", cost.softirq_s),
        ("stolen", cost.steal_s),
    ];
    let kinds = kinds.map(|(name, cpu_s)| format!("{name} {}", cores(cpu_s)));
    body.text(kinds.join(", ")).raw(".");
    if !phase.target_threads.is_empty() {
        body.raw(" Threads of the target: ");
        let threads = phase.target_threads.iter();
        let threads = threads.map(|thread| format!("{} {}", thread.name, cores(thread.cpu_s)));
        body.text(threads.collect::<Vec<_>>().join(", ")).raw(".");
    }
    body.raw("</p>\n");
}

/// What went wrong.
pub(super) fn errors(body: &mut Markup, phase: &PhaseResult) {
    if phase.loads.iter().all(|load| load.errors.is_empty()) {
        return;
    }
    body.raw("<table class=\"words\"><thead><tr><th>load</th><th class=\"n\">times</th>");
    body.raw("<th>error</th></tr></thead><tbody>\n");
    for load in &phase.loads {
        for error in &load.errors {
            body.within("<tr><td>", &load.name, "</td>");
            body.within("<td class=\"n\">", units::count(error.times), "</td>");
            body.within("<td>", &error.what, "</td></tr>\n");
        }
    }
    body.raw("</tbody></table>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let command = ["ringseed-swarm", "flood", "127.0.0.1:6881", "--title", "it's a test", ""];
        let wanted = "ringseed-swarm flood 127.0.0.1:6881 --title 'it'\\''s a test' ''";
        assert_eq!(shell(&command.map(str::to_owned)), wanted);
    }
}
