"""What a comparison of trackers shows: a line for each run, and a report with its tables and goals."""

import statistics

from tables import OTHERS_MAX, STEAL_MAX, figure, one_line, spread, time_text
from trackers import OURS

FLOORS = {"udp": "bare_udp", "http": "bare_http"}
ERRORS_MAX = 0.001  # of the requests: datagrams that a full socket dropped
# What ours is divided by, by which figure, and the least that it should come to (of latency and memory: the most).
GOALS = (
    ("ringseed", "bare_udp", "answers_per_tracker_cpu_s", 0.8),
    ("ringseed", "the better of aquatic_udp", "answers_per_tracker_cpu_s", 1.3),
    ("ringseed", "opentracker", "answers_per_tracker_cpu_s", 1.0),
    ("ringseed-http", "bare_http", "answers_per_tracker_cpu_s", 0.5),
    ("ringseed-http", "aquatic_http", "answers_per_tracker_cpu_s", 10.0),
    ("ringseed-http", "opentracker-http", "answers_per_tracker_cpu_s", 1.0),
)  # fmt: skip
AT_MOST = ("p99_us", "bytes_a_peer")  # against each of the others that keep peers: 1

METHOD = """\
## Method

Each tracker runs on one core and `ringseed-swarm announce` on another, in a network namespace. All are
started, then filled: every peer announces once, and *bytes a peer* is what has become resident by then,
by the number of peers. After that they take turns, repetition by repetition: `busy` keeps so many
requests without an answer (rates and costs), `paced` asks at a fixed rate, the same for all of a protocol,
and times each answer from when its request was due (latencies). Announces only, for 50 peers; one in 17
is a `stopped`. Figures are medians of the repetitions, and *spread* is (max - min) / median of a program
against itself. *of the process* is the tracker's own CPU time, *all cores* all but idle, iowait and steal
on the machine: loopback charges what a send costs its receiver to the sender. A floor parses nothing.
"""


def line_of(run: dict) -> str:
    head = f"{run['tracker']:18} {run['mode']:6}"
    if "error" in run:
        return f"{head} failed: {one_line(run['error'])}"
    memory = run.get("bytes_a_peer")
    if run["mode"] == "fill":
        return f"{head} {memory:.1f} bytes a peer" if memory else f"{head} keeps no peers"
    return (
        f"{head} {run['answers_per_s']:>9,.0f}/s {run['answers_per_tracker_cpu_s']:>9,.0f}/CPU-s of the process "
        f"{run['answers_per_cpu_s']:>9,.0f} of all p50 {run['p50_us']} us p99 {run['p99_us']} us {' '.join(doubts(run))}"
    ).rstrip()


def doubts(run: dict) -> list:
    """What makes this run worth less."""
    found = []
    if "busy_s" not in run:
        return found
    others = run["busy_s"] - run["tracker_s"] - run["own_s"]
    if others > OTHERS_MAX * run["busy_s"] and others > 0.1:
        found.append(f"[other programs: {others:.1f} CPU-s]")
    if run["steal_s"] > STEAL_MAX * run["all_s"]:
        found.append(f"[stolen: {run['steal_s']:.1f} CPU-s]")
    if run["errors"] > ERRORS_MAX * run["answers"]:
        found.append(f"[{run['errors']} without an answer, of {run['answers'] + run['errors']}]")
    return found


def report_of(facts: dict, runs: list) -> str:
    parts = [
        f"# Trackers compared, {facts['date']}\n\n",
        f"`{facts['command']}`, commit {facts['commit']}; Linux {facts['kernel']}, {facts['processor']}, "
        f"{facts['cores']} cores (tracker on {facts['tracker_core']}, load on {facts['load_core']}); "
        f"{facts['torrents']:,} torrents, {facts['peers']:,} peers; {facts['repetitions']} x {facts['seconds']:g} s.\n\n",
        "Measured: " + ", ".join(f"{name} {version}" for name, version in facts["trackers"].items()) + ".\n",
        "".join(f"\n**{name} is missing**: {one_line(why)}\n" for name, why in facts["missing"].items()),
        f"\n**In doubt**: {facts['cores_remark']}.\n" if facts["cores_remark"] else "",
    ]
    for transport, protocol in (("udp", "UDP"), ("http", "HTTP, connections kept")):
        names = [name for name, of in facts["transports"].items() if of == transport]
        if names:
            parts += [f"\n## {protocol}\n\n", table(names, facts, runs, transport)]
    parts += ["\n## Goals\n\n", goals(facts, runs), "\n", METHOD]
    remarks = [f"- {line_of(run)}\n" for run in runs if "error" in run or doubts(run)]
    if remarks:
        parts += ["\n## Runs in doubt\n\n", *remarks]
    return "".join(parts)


def table(names: list, facts: dict, runs: list, transport: str) -> str:
    columns = (
        "tracker", "answers/CPU-s of the process", "spread", "all cores", "ours : it", "it : floor",
        f"answers/s, {facts['at_once'][transport]} at once",
        f"p50 at {facts['rate_per_s'][transport]:,}/s", "p99", "bytes a peer",
    )  # fmt: skip
    rows = [columns, ["---"] + ["---:"] * (len(columns) - 1)]
    cost = {name: median(runs, name, "busy", "answers_per_tracker_cpu_s") for name in names}
    for name in names:
        bold = f"**{name}**" if name == OURS[transport] else name
        if cost[name] is None:
            why = next((run["error"] for run in runs if run["tracker"] == name and "error" in run), "never ran")
            rows.append([bold, f"failed: {one_line(why)[:120]}"] + [""] * (len(columns) - 2))
            continue
        doubted = any(doubts(run) for run in runs if run["tracker"] == name and run["mode"] == "busy")
        number = lambda mode, key: median(runs, name, mode, key)  # noqa: E731
        memory, p50, p99 = number("fill", "bytes_a_peer"), number("paced", "p50_us"), number("paced", "p99_us")
        rows.append([
            bold, f"{cost[name]:,.0f}" + (" ?" if doubted else ""),
            spread(values(runs, name, "busy", "answers_per_tracker_cpu_s")),
            f"{number('busy', 'answers_per_cpu_s'):,.0f}",
            quotient(cost.get(OURS[transport]), cost[name]), quotient(cost[name], cost.get(FLOORS[transport])),
            f"{number('busy', 'answers_per_s'):,.0f}",
            "-" if p50 is None else time_text(p50), "-" if p99 is None else time_text(p99),
            f"{memory:.1f}" if memory else "-",
        ])  # fmt: skip
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def goals(facts: dict, runs: list) -> str:
    """A line for each goal whose two programs ran."""
    lines = []
    for ours, other, key, least in GOALS:
        its = better(runs, key) if other.startswith("the better") else median(runs, other, "busy", key)
        own = median(runs, ours, "busy", key)
        if own and its:
            lines.append(line_of_goal(own / its >= least, f"{ours} : {other}, answers per CPU-second", own / its, f"at least {least:g}"))
    for ours in OURS.values():
        of = facts["transports"].get(ours)
        for key, mode in zip(AT_MOST, ("paced", "fill")):
            for other in facts["trackers"]:
                own, its = median(runs, ours, mode, key), median(runs, other, mode, key)
                if own and its and other != ours and facts["transports"][other] == of and other != FLOORS[of]:
                    lines.append(line_of_goal(own <= its, f"{ours} : {other}, {key}", own / its, "at most 1"))
    return "".join(lines) or "None of the pairs was measured.\n"


def line_of_goal(is_met: bool, what: str, came: float, bound: str) -> str:
    return f"- {'met' if is_met else 'MISSED'}: {what}: {came:.2f} ({bound})\n"


def better(runs: list, key: str):
    found = [median(runs, f"aquatic_udp-{back_end}", "busy", key) for back_end in ("mio", "uring")]
    return max(filter(None, found), default=None)


def values(runs: list, name: str, mode: str, key: str) -> list:
    of = [run for run in runs if run["tracker"] == name and run["mode"] == mode and "error" not in run]
    return [run[key] for run in of if run.get(key) is not None]


def median(runs: list, name: str, mode: str, key: str):
    found = values(runs, name, mode, key)
    return statistics.median(found) if found else None


def quotient(first, second) -> str:
    return figure(first / second) if first and second else "-"
