"""What a comparison shows: a line for each run, and a report with its one table."""

import statistics

OURS = "ringseed"
FLOORS = ("bare_splice", "bare_copy")
OTHERS_MAX = 0.05  # of busy time spent by programs that are neither seeder nor swarm
STEAL_MAX = 0.02  # of all time taken by the hypervisor
RESIDENT_MIN = 0.995  # below it disks are measured

METHOD = """\
## Method

Each seeder serves the same torrent from the page cache, pinned to a core, freshly started for each
load; `ringseed-swarm flood` asks from another with one pinned thread, each leecher from an address of
its own, keeps the given number of requests outstanding on each connection, checks the header of
every block and lets the kernel drop its bytes. A second of load is left out before the time that
counts. Seeders take turns within a load, loads within a repetition; figures are medians of the
repetitions, and *spread* is (max - min) / median of a program against itself: a difference below it
is none.

**GB/CPU-s** is 10^9 bytes of blocks by a second of busy time of *all* cores (/proc/stat: all but
idle, iowait and steal, so softirq is included): ratios are made from it. *Of the process* counts the
seeder's own CPU time alone; it flatters whoever keeps the swarm busiest, whose acknowledgements then
clock out the seeder's segments on the swarm's core. Latency is from a request to the last byte of its
block; over one request outstanding it is mostly queueing.

`bare_splice` and `bare_copy` are floors: seeders of raw system calls that trust their peers and do
nothing but answer (by page references; by io_uring READ and SENDMSG of 16 blocks).

## Bias

Loopback has no NIC, no segmentation, no DMA, no loss and no round trip: a copy costs relatively more
here than on a network, and large segments cost less. The swarm is the same for all and is part of the
busy time. Settings are each project's own advice for speed as far as it gives one; its authors might
know better. See docs/benchmarking.md.
"""


def line_of(run: dict) -> str:
    head = f"{run['seeder']:12} {run['load']:>9} "
    if "error" in run:
        return f"{head} failed: {one_line(run['error'])}"
    return (
        f"{head} {figure(run['gb_per_s']):>6} GB/s {figure(run['gb_per_cpu_s']):>6} GB/CPU-s "
        f"({figure(run['gb_per_target_cpu_s']):>6}) p50 {run['p50_us']} us p99 {run['p99_us']} us "
        f"{run['unchoked']} of {run['connections']} unchoked {' '.join(doubts(run))}"
    ).rstrip()


def one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def doubts(run: dict) -> list:
    """What makes this run worth less."""
    found = []
    others = run["busy_s"] - run["target_s"] - run["own_s"]
    if others > OTHERS_MAX * run["busy_s"] and others > 0.1:
        found.append(f"[other programs: {others:.1f} CPU-s]")
    if run["steal_s"] > STEAL_MAX * run["all_s"]:
        found.append(f"[stolen: {run['steal_s']:.1f} CPU-s]")
    if run["resident"] < RESIDENT_MIN:
        found.append(f"[void: {run['resident']:.1%} of the data resident]")
    if run["unchoked"] < run["connections"]:
        found.append(f"[{run['connections'] - run['unchoked']} connections not unchoked]")
    if run["lost"]:
        found.append(f"[{run['lost']} connections lost]")
    if run["rejects"] or run["chokes"]:
        found.append(f"[{run['rejects']} rejects, {run['chokes']} chokes]")
    return found


def report_of(facts: dict, runs: list) -> str:
    parts = [
        f"# Seeders compared, {facts['date']}\n\n",
        f"`{facts['command']}`, commit {facts['commit']}; Linux {facts['kernel']}, "
        f"{facts['processor']}, {facts['cores']} cores (seeder on {facts['seeder_core']}, swarm on {facts['swarm_core']}), "
        f"{facts['congestion_control']}, seeder at "
        f"{facts['seeder_address']}, leechers from {facts['leechers_from']}; "
        f"{facts['data_bytes'] >> 20} MiB in pieces of {facts['piece_bytes'] >> 10} KiB, "
        f"{facts['resident_before']:.2%} resident before and {facts['resident_after']:.2%} after; "
        f"{facts['repetitions']} x {facts['seconds']} s.\n\n",
        "Measured: " + ", ".join(f"{name} {version}" for name, version in facts["seeders"].items()) + ".\n",
        "".join(f"\n**{name} is missing**: {one_line(why)}\n" for name, why in facts["missing"].items()),
        f"\n**In doubt**: {facts['cores_remark']}.\n" if facts["cores_remark"] else "",
        "\n## GB/CPU-s over all cores, and ratios\n\n",
        table(facts, runs),
        f"\n*ours : it* is {OURS} by that program, *it : floor* that program by the floor. "
        "A **?** marks runs in doubt, listed below: their ratios are worth nothing.\n\n",
        METHOD,
    ]
    remarks = [f"- {line_of(run)}\n" for run in runs if "error" in run or doubts(run)]
    if remarks:
        parts += ["\n## Runs in doubt\n\n", *remarks]
    return "".join(parts)


COLUMNS = (
    "connections x outstanding", "seeder", "GB/CPU-s, all cores", "of the process", "spread", "ours : it",
    *(f"it : {floor}" for floor in FLOORS), "GB/s", "p50", "p99", "unchoked",
)  # fmt: skip


def table(facts: dict, runs: list) -> str:
    """A row for each load and seeder; those that are missing or failed have one as well."""
    rows = [COLUMNS, ["---"] * 2 + ["---:"] * (len(COLUMNS) - 2)]
    for load in dict.fromkeys(run["load"] for run in runs):
        of_load = [run for run in runs if run["load"] == load]
        costs = {name: median(of_load, name, "gb_per_cpu_s") for name in facts["seeders"]}
        for name in facts["seeders"]:
            rows.append([load, f"**{name}**" if name == OURS else name, *cells(of_load, name, costs)])
        for name, why in facts["missing"].items():
            rows.append([load, name, f"missing: {one_line(why)}"] + [""] * (len(COLUMNS) - 3))
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def cells(runs: list, name: str, costs: dict) -> list:
    own = costs[name]
    if own is None:
        why = next((run["error"] for run in runs if run["seeder"] == name and "error" in run), "never ran")
        return [f"failed: {one_line(why)[:120]}"] + [""] * (len(COLUMNS) - 3)
    one = lambda key: median(runs, name, key)  # noqa: E731
    failed = sum("error" in run for run in runs if run["seeder"] == name)
    doubted = any(doubts(run) for run in runs if run["seeder"] == name and "error" not in run)
    return [
        figure(own) + (" ?" if doubted else "") + (f" ({failed} failed)" if failed else ""),
        figure(one("gb_per_target_cpu_s")),
        spread(values(runs, name, "gb_per_cpu_s")),
        ratio(costs.get(OURS), own),
        *(ratio(own, costs.get(floor)) for floor in FLOORS),
        figure(one("gb_per_s")),
        time_text(one("p50_us")),
        time_text(one("p99_us")),
        f"{one('unchoked'):.0f} of {one('connections'):.0f}",
    ]


def values(runs: list, name: str, key: str) -> list:
    return [run[key] for run in runs if run["seeder"] == name and "error" not in run]


def median(runs: list, name: str, key: str):
    found = values(runs, name, key)
    return statistics.median(found) if found else None


def ratio(first, second) -> str:
    return figure(first / second) if first and second else "-"


def figure(value: float) -> str:
    """Two places, or two digits where that would show nothing; - where nothing could be measured."""
    if not value:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def spread(found: list) -> str:
    return f"{(max(found) - min(found)) / statistics.median(found):.0%}" if len(found) > 1 else "-"


def time_text(us: float) -> str:
    return f"{us:.0f} us" if us < 1000 else f"{us / 1000:.2g} ms" if us < 10_000 else f"{us / 1000:.0f} ms"
