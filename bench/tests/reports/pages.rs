//! Pages stand alone, hold the results without loss, and no text breaks out of them.

use ringseed_swarm::output;
use ringseed_swarm::results::{Check, Distribution, ErrorCount, PhaseResult, Results, ThreadTime};
use serde_json::Value;

use super::{assert_same, folder, made};

/// What stands in the `script` element with this id.
fn embedded<'a>(page: &'a str, id: &str) -> &'a str {
    let open = format!("<script type=\"application/json\" id=\"{id}\">");
    let (_, after) = page.split_once(&open).unwrap();
    after.split_once("</script>").unwrap().0
}

/// The markup without what stands in scripts and styles.
fn markup(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, after)) = [("<script", "</script>"), ("<style", "</style>")]
        .iter()
        .filter_map(|(open, close)| {
            let at = rest.find(open)?;
            Some((at, rest[at..].find(close).unwrap() + at + close.len()))
        })
        .min()
    {
        text.push_str(&rest[..before]);
        rest = &rest[after..];
    }
    text + rest
}

#[track_caller]
fn assert_stands_alone(page: &str) {
    let markup = markup(page);
    for reference in
        [" src=", " srcset=", "url(", "@import", "<link", "<iframe", "<object", "<base"]
    {
        assert!(!markup.contains(reference), "{reference}");
    }
    // Links go to places of the page; the one to the results is made by its script.
    assert!(markup.split(" href=").skip(1).all(|link| link.starts_with("\"#phase-")));
    let style: Vec<&str> = page.split("<style>").skip(1).collect();
    for sheet in style {
        let sheet = sheet.split_once("</style>").unwrap().0;
        assert!(!sheet.contains("url(") && !sheet.contains("@import"));
    }
    let script = page.rsplit("<script>").next().unwrap();
    for call in ["fetch(", "XMLHttpRequest", "import(", "http:", "https:"] {
        assert!(!script.contains(call), "{call}");
    }
    assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none'"));
}

#[test]
fn the_page_of_a_run_stands_alone_and_holds_the_results() {
    let run = made("ringseed", 1, 1.0);
    let page = output::page(&run).unwrap();
    std::fs::write(folder("pages").join("report.html"), &page).unwrap();
    assert_stands_alone(&page);
    assert_same(&serde_json::from_str::<Results>(embedded(&page, "results")).unwrap(), &run);
    for part in
        ["Methodology", "Bias", "ringseed-swarm run bench/profiles/quick.toml", "cubic", "Passed"]
    {
        assert!(page.contains(part), "{part}");
    }
    let figures = page.matches("<figure data-plot=").count();
    let plots: Vec<Value> = serde_json::from_str(embedded(&page, "plots")).unwrap();
    assert_eq!(figures, plots.len());
    for kind in ["percentiles", "heat", "lines", "bars"] {
        assert!(plots.iter().any(|plot| plot["kind"] == kind), "{kind}");
    }
}

#[test]
fn the_page_of_many_runs_stands_alone_and_holds_them() {
    let mut runs = Vec::new();
    for (title, speed) in [("ringseed", 1.0), ("libtorrent 2.1", 0.41), ("bare_splice", 1.12)] {
        for repetition in 0..3_u32 {
            let seed = u64::from(repetition) + (speed * 100.0) as u64;
            runs.push(made(title, seed, speed * (1.0 + f64::from(repetition) * 0.015)));
        }
    }
    let comparison = output::compare(&runs).unwrap();
    let page = output::page_of_many(&runs, &comparison).unwrap();
    std::fs::write(folder("pages").join("side-by-side.html"), &page).unwrap();
    std::fs::write(folder("pages").join("side-by-side.md"), comparison.to_string()).unwrap();
    assert_stands_alone(&page);
    assert_same(&serde_json::from_str::<Vec<Results>>(embedded(&page, "results")).unwrap(), &runs);
    assert!(page.contains("median of 3"), "repetitions are put together");
}

#[test]
fn hostile_text_stays_text() {
    const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&{{script}}<!--\u{2028}";
    let text = || HOSTILE.to_owned();
    let mut run = made("ringseed", 1, 1.0);
    run.title = text();
    run.program = text();
    run.command.push(text());
    run.failures = vec![text(), text()];
    run.machine.kernel = Some(text());
    run.machine.qdisc = Some(text());
    run.target.address = Some(text());
    run.target.command = Some(text());
    run.target.tracker.push(text());
    let phase = &mut run.phases[0];
    phase.name = text();
    phase.remarks.push(text());
    phase.target_threads.push(ThreadTime { name: text(), cpu_s: 1.0 });
    let load = &mut phase.loads[0];
    load.name = text();
    load.mode = text();
    load.parameters.insert(text(), Value::String(text()));
    load.errors.push(ErrorCount { what: text(), times: 3 });
    load.checks.push(Check { name: text(), passed: false, saw: text() });
    let latency = load.latencies["request_to_piece"].clone();
    load.latencies.insert(text(), latency);

    let page = output::page(&run).unwrap();
    assert_same(&serde_json::from_str::<Results>(embedded(&page, "results")).unwrap(), &run);
    let runs = [run.clone(), made("b", 2, 1.0)];
    let side_by_side = output::page_of_many(&runs, &output::compare(&runs).unwrap()).unwrap();
    let plain = output::page(&made("ringseed", 1, 1.0)).unwrap();
    for page in [&page, &side_by_side] {
        assert!(!page.contains("<img") && !page.contains("<!--"));
        assert_eq!(page.matches("</script>").count(), plain.matches("</script>").count());
        assert!(markup(page).contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"));
        assert!(page.contains("failed"));
    }
    let folder = folder("hostile");
    let paths = output::write(&folder, &run).unwrap();
    assert!(paths.iter().all(|path| path.parent() == Some(&folder)), "{paths:?}");
}

#[test]
fn a_run_that_ended_at_once_has_its_page() {
    let mut run = made("ringseed", 1, 1.0);
    run.failures.push("cannot connect".into());
    run.phases.truncate(2);
    let [empty, broken] = run.phases.as_mut_slice() else { panic!("two phases are left") };
    *empty = PhaseResult { name: "empty".into(), ..PhaseResult::default() };
    broken.seconds = 0.0;
    broken.series.clear();
    for latency in broken.loads[0].latencies.values_mut() {
        *latency = Distribution::new();
    }
    let paths = output::write(&folder("ended-at-once"), &run).unwrap();
    let names: Vec<&str> =
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["result.json", "latency.hlog", "report.html"], "nothing was recorded");
    let page = std::fs::read_to_string(&paths[2]).unwrap();
    assert!(page.contains("cannot connect") && page.contains("Failed"));
    assert!(!output::summary(&run).to_string().contains("NaN"));
    assert!(!markup(&page).contains("NaN") && !markup(&page).contains("inf "));
    run.phases.clear();
    assert!(output::page(&run).unwrap().contains("cannot connect"));
}
