"""What a comparison shows: a line for each run, and a report with its tables."""

import statistics

OTHERS_MAX = 0.05  # of busy time spent by programs that are neither seeder nor swarm
STEAL_MAX = 0.02  # of all time taken by the hypervisor
RESIDENT_MIN = 0.995  # below it disks are measured
REFERENCES = ("libtorrent", "rqbit")

METHOD = """\
## Method

Each seeder serves the same torrent from the page cache, pinned to core 0, freshly started for each
load; `ringseed-swarm flood` asks from core 1 with one pinned thread, keeps the given number of requests
outstanding on each connection, checks the header of every block and lets the kernel drop its bytes.
A second of load is left out before the time that counts. Seeders take turns within a load, loads
within a repetition; figures are medians of the repetitions.

**GB/CPU-s** is 10^9 bytes of blocks by a second of busy time of *all* cores (/proc/stat: all but idle,
iowait and steal, so softirq is included): compare these. The **process** figure counts the seeder's own CPU time
alone; it flatters whoever keeps the swarm busiest, whose acknowledgements then clock out the seeder's
segments on the swarm's core. Latency is from a request to the last byte of its block.

## Bias

Loopback has no NIC, no segmentation, no DMA, no loss and no round trip: a copy costs relatively more
here than on a network, and large segments cost less. The swarm is the same for all and is part of the
busy time. Settings are each project's own advice for speed as far as it gives one; its authors might
know better. See docs/benchmarking.md.
"""


def line_of(run: dict) -> str:
    head = f"{run['seeder']:12} {run['load']:>9} "
    if "error" in run:
        return f"{head} failed: {run['error']}"
    latency = run["latency_us"]
    return (
        f"{head} {run['gb_per_s']:6.2f} GB/s {run['gb_per_cpu_s']:6.2f} GB/CPU-s "
        f"({run['gb_per_seeder_cpu_s']:6.2f}) p50 {latency['p50']} us p99 {latency['p99']} us "
        f"{run['unchoked']} unchoked {' '.join(doubts(run))}"
    )


def doubts(run: dict) -> list:
    """What makes this run worth less."""
    cpu, found = run["cpu_s"], []
    others = cpu["busy"] - cpu["seeder"] - cpu["own"]
    if others > OTHERS_MAX * cpu["busy"] and others > 0.1:
        found.append(f"[other programs: {others:.1f} CPU-s]")
    if cpu["steal"] > STEAL_MAX * (cpu["busy"] + cpu["idle"] + cpu["steal"]):
        found.append(f"[stolen: {cpu['steal']:.1f} CPU-s]")
    if run["resident"] < RESIDENT_MIN:
        found.append(f"[void: {run['resident']:.1%} of the data resident]")
    if run["lost"]:
        found.append(f"[{run['lost']} connections lost]")
    if run["rejects"] or run["chokes"]:
        found.append(f"[{run['rejects']} rejects, {run['chokes']} chokes]")
    return found


def report_of(facts: dict, runs: list) -> str:
    names = list(facts["seeders"])
    loads = list(dict.fromkeys(run["load"] for run in runs))
    parts = [
        f"# Seeders compared, {facts['date']}\n",
        f"`{facts['command']}`, commit {facts['commit']}; Linux {facts['kernel']}, "
        f"{facts['processor']}, {facts['cores']} cores, {facts['congestion_control']} on loopback; "
        f"{facts['data_bytes'] >> 20} MiB in pieces of {facts['piece_bytes'] >> 10} KiB, "
        f"{facts['resident_before']:.2%} resident before and {facts['resident_after']:.2%} after; "
        f"{facts['repetitions']} x {facts['seconds']} s.\n",
        "Measured: " + ", ".join(f"{name} {version}" for name, version in facts["seeders"].items()) + ".\n",
        *(f"- {line}\n" for line in facts["missing"]),
        "\n## GB/CPU-s over all cores (of the seeder's process) [p50 / p99]\n\n",
        table(names, loads, runs, cell),
        "\n## Rate, GB/s (connections unchoked)\n\n",
        table(names, loads, runs, rate_cell),
        "\n## Ratio to the better of libtorrent and rqbit, over all cores\n\n",
        table(names, loads, runs, ratio_cell),
        "\n## Spread of GB/CPU-s against itself, (max - min) / median\n\n",
        table(names, loads, runs, spread_cell),
        "\n",
        METHOD,
    ]
    remarks = [f"- {line_of(run)}\n" for run in runs if "error" in run or doubts(run)]
    if remarks:
        parts += ["\n## Runs in doubt\n\n", *remarks]
    return "".join(parts)


def table(names, loads, runs, cell_of) -> str:
    head = "| connections x outstanding | " + " | ".join(names) + " |\n"
    rows = [head, "|---" * (len(names) + 1) + "|\n"]
    for load in loads:
        cells = [cell_of(runs, name, load) for name in names]
        rows.append(f"| {load} | " + " | ".join(cells) + " |\n")
    return "".join(rows)


def values(runs, name, load, pick) -> list:
    return [
        pick(run)
        for run in runs
        if run["seeder"] == name and run["load"] == load and "error" not in run
    ]


def median(runs, name, load, pick):
    found = values(runs, name, load, pick)
    return statistics.median(found) if found else None


def cost(run):
    return run["gb_per_cpu_s"]


def cell(runs, name, load) -> str:
    whole = median(runs, name, load, cost)
    if whole is None:
        return "failed"
    process = median(runs, name, load, lambda run: run["gb_per_seeder_cpu_s"])
    p50 = median(runs, name, load, lambda run: run["latency_us"]["p50"])
    p99 = median(runs, name, load, lambda run: run["latency_us"]["p99"])
    return f"{whole:.2f} ({process:.2f}) [{time_text(p50)} / {time_text(p99)}]"


def rate_cell(runs, name, load) -> str:
    rate = median(runs, name, load, lambda run: run["gb_per_s"])
    if rate is None:
        return "failed"
    return f"{rate:.2f} ({median(runs, name, load, lambda run: run['unchoked']):.0f})"


def ratio_cell(runs, name, load) -> str:
    own = median(runs, name, load, cost)
    others = [median(runs, other, load, cost) for other in REFERENCES]
    best = max((other for other in others if other), default=None)
    return "-" if not own or not best else f"{own / best:.2f}"


def spread_cell(runs, name, load) -> str:
    found = values(runs, name, load, cost)
    if len(found) < 2:
        return "-"
    return f"{(max(found) - min(found)) / statistics.median(found):.1%}"


def time_text(us: float) -> str:
    return f"{us:.0f} us" if us < 1000 else f"{us / 1000:.2g} ms" if us < 10_000 else f"{us / 1000:.0f} ms"
