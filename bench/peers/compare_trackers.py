"""Measures trackers beside each other and writes one table and one report. Started by compare.sh."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

import tracker_tables as tables
import trackers
from compare import command_line, commit, processor
from cores import Cores, choose
from network import Network, network
from seeders import ENDS_WITH_US, stop_by_signals

OPENING_S = 200  # a million announces at 10,000 a second, twice over
AT_ONCE = {"udp": 256, "http": 64}  # what every tracker's socket holds; a request on each connection
RATE = {"udp": 50_000, "http": 4_000}  # what each of them answers
WARM_UP_S = 0.5


def main() -> int:
    options = arguments()
    stop_by_signals()
    cores = choose()
    if not cores:
        print("compare.sh: two cores are needed, one for the tracker and one for the load", file=sys.stderr)
        return 1
    net = network()
    found, missing = trackers.find(options.target, options.torrents)
    if options.only:
        there = {*missing, *(tracker.name for tracker in found)}
        if unknown := set(options.only) - there:
            print(f"compare.sh: --only {' '.join(unknown)}: there are {', '.join(sorted(there))}", file=sys.stderr)
            return 2
        found = [tracker for tracker in found if tracker.name in options.only]
        missing = {name: why for name, why in missing.items() if name in options.only}
    for name, why in missing.items():
        print(f"{name} is missing, and left out: {why}", file=sys.stderr)
    facts = {
        "command": command_line(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "kernel": platform.release(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "tracker_core": cores.seeder,
        "load_core": cores.swarm,
        "cores_remark": cores.remark,
        "trackers": {tracker.name: tracker.version for tracker in found},
        "transports": {tracker.name: tracker.transport for tracker in found},
        "missing": missing,
        "torrents": options.torrents,
        "peers": options.peers,
        "seconds": options.seconds,
        "repetitions": options.repetitions,
        "at_once": AT_ONCE,
        "rate_per_s": RATE,
    }
    folder = options.out or pathlib.Path("reports") / facts["date"][:10] / (
        "trackers-" + facts["date"][11:19].replace(":", "")
    )
    folder.mkdir(parents=True, exist_ok=True)
    load = Load(options, net, cores)
    runs, running = [], []
    try:
        for tracker in found:
            runs.append(begin(tracker, load, running))
            print(tables.line_of(runs[-1]), file=sys.stderr, flush=True)
        for repetition in range(options.repetitions):
            for one in running:
                for mode in ("busy", "paced"):
                    run = {"tracker": one.seeder.name, "mode": mode, "repetition": repetition}
                    runs.append({**run, **load.measure(one, mode)})
                    print(tables.line_of(runs[-1]), file=sys.stderr, flush=True)
    finally:
        for one in running:
            one.__exit__()
        # Of a comparison that was broken off, what there is.
        (folder / "figures.json").write_text(json.dumps({"facts": facts, "runs": runs}, indent=1) + "\n")
        (folder / "table.md").write_text(tables.report_of(facts, runs))
        print(f"written to {folder}: table.md, figures.json", file=sys.stderr)
    print((folder / "table.md").read_text())
    return int(any("error" in run for run in runs))


def begin(tracker: trackers.Tracker, load: "Load", running: list) -> dict:
    """Starts it and makes all peers known to it."""
    run = {"tracker": tracker.name, "mode": "fill", "repetition": 0}
    try:
        one = trackers.RunningTracker(tracker, load.net, load.cores.seeder)
        one.__enter__()
    except (RuntimeError, OSError) as error:
        return {**run, "error": str(error)}
    before = one.resident_bytes()
    running.append(one)
    if tracker.keeps_peers:
        run.update(load.measure(one, "fill"))
    run["bytes_a_peer"] = (one.resident_bytes() - before) / load.peers if tracker.keeps_peers else None
    return run


class Load:
    """The load, from the other core, with the same peers for all."""

    def __init__(self, options, net: Network, cores: Cores):
        self.swarm = options.target / "release" / "ringseed-swarm"
        self.torrents, self.peers, self.seconds = options.torrents, options.peers, options.seconds
        self.net, self.cores = net, cores

    def measure(self, one: trackers.RunningTracker, mode: str) -> dict:
        """`busy`: so many at once; `paced`: at a rate; `fill`: each peer once, before either."""
        transport = one.transport
        where = ["--udp", one.listen] if transport == "udp" else ["--http", f"http://{one.listen}/announce"]
        seconds = {"busy": self.seconds, "paced": self.seconds, "fill": 0.2}[mode]
        demand = ["--rate", RATE[transport]] if mode == "paced" else ["--at-once", AT_ONCE[transport]]
        command = [
            *ENDS_WITH_US, self.swarm, "announce", *where, *demand, "--torrents", self.torrents,
            "--peers", self.peers, "--scrapes", 0, "--from", self.net.leechers, "--seconds", seconds,
            "--warm-up", WARM_UP_S, "--opening", OPENING_S, "--pid", one.pid,
            "--core", self.cores.swarm, "--title", one.seeder.name, "--json",
            *(["--fill"] if mode == "fill" else []),
        ]  # fmt: skip
        try:
            run = subprocess.run(
                [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=OPENING_S + seconds + 30,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"error": str(error)}
        if not run.stdout.strip():
            return {"error": run.stderr.strip() or f"the load ended with code {run.returncode}"}
        result = json.loads(run.stdout)
        if result["failures"]:
            return {"error": "; ".join(result["failures"])}
        return figures_of(result)


def figures_of(result: dict) -> dict:
    """What tables need of a result with one phase of one load (docs/reports.md)."""
    phase = result["phases"][0]
    cost, load = phase["cost"], phase["loads"][0]
    answers, latency = load["counts"]["answers"], load["latencies"].get("announce", {})
    return {
        "answers_per_s": answers / cost["elapsed_s"],
        "answers_per_cpu_s": answers / cost["busy_s"] if cost["busy_s"] else 0.0,
        "answers_per_tracker_cpu_s": answers / cost["target_s"] if cost["target_s"] else 0.0,
        "answers": answers,
        "errors": load["counts"]["errors"],
        "p50_us": latency.get("p50_us"),
        "p99_us": latency.get("p99_us"),
        "busy_s": cost["busy_s"],
        "tracker_s": cost["target_s"] or 0.0,
        "own_s": cost["own_s"],
        "steal_s": cost["steal_s"],
        "elapsed_s": cost["elapsed_s"],
        "all_s": cost["elapsed_s"] * result["machine"]["cores"],
        "remarks": phase["remarks"],
    }


def arguments():
    parser = argparse.ArgumentParser(prog="compare.sh tracker", description=__doc__)
    parser.add_argument("mode", choices=["tracker"])
    parser.add_argument("--target", type=pathlib.Path, required=True, help="cargo's target folder")
    names = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--only", type=names, metavar="NAME,...", help="measure these alone")
    parser.add_argument("--torrents", type=int, default=100_000, help="infohashes [100000]")
    parser.add_argument("--peers", type=int, default=1_000_000, help="peers of all torrents, by Zipf's law [1000000]")
    parser.add_argument("--seconds", type=float, default=3, help="length of each measurement [3]")
    parser.add_argument("--repetitions", type=int, default=5, help="[5]")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the report [reports/DATE]")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
