"""Measures seeders beside each other and writes one table and one report. Started by compare.sh."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import traceback

import programs
import tables
from content import data_file, drop, read_through, resident, torrent_of
from cores import choose
from measured import measure, results_of
from network import network
from seeders import stop_by_signals

MODES = {
    # mode: (loads as connections x requests outstanding, seconds of each, repetitions)
    "quick": ([(100, 64), (1, 1)], 5, 1),
    "full": ([(1, 1), (100, 1), (10, 64), (100, 64), (1000, 16)], 10, 3),
}


def main() -> int:
    options = arguments()
    stop_by_signals()
    loads, seconds, repetitions = MODES[options.mode]
    loads = [tuple(map(int, load.split("x"))) for load in options.loads] or loads
    seconds = options.seconds or seconds
    repetitions = options.repetitions or repetitions
    cores = choose()
    if not cores:
        print("compare.py: two cores are needed, one for the seeder and one for the swarm", file=sys.stderr)
        return 1

    net = network()
    found, missing = programs.find(options.target, net)
    if options.only:
        there = {*missing, *(seeder.name for seeder in found)}
        if unknown := set(options.only) - there:
            print(f"compare.py: --only {' '.join(unknown)}: there are {', '.join(sorted(there))}", file=sys.stderr)
            return 2
        found = [seeder for seeder in found if seeder.name in options.only]
        missing = {name: why for name, why in missing.items() if name in options.only}
    for name, why in missing.items():
        print(f"{name} is missing: {why}", file=sys.stderr)
    data = data_file(options.target / "bench-data", options.gib << 30)
    drop(data)
    content = torrent_of(options.target / "release" / "ringseed", data, options.piece_kib)
    read_through(data)
    facts = {
        "command": command_line(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "kernel": platform.release(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "seeder_core": cores.seeder,
        "swarm_core": cores.swarm,
        "cores_remark": cores.remark,
        "congestion_control": net.congestion_control(),
        "seeder_address": net.seeder,
        "leechers_from": net.leechers,
        "seeders": {seeder.name: seeder.version for seeder in found},
        "missing": missing,
        "data_bytes": content.total_bytes,
        "piece_bytes": content.piece_bytes,
        "seconds": seconds,
        "repetitions": repetitions,
        "resident_before": resident(data),
    }

    folder = options.out or pathlib.Path("reports") / facts["date"][:10] / (
        "compare-" + facts["date"][11:19].replace(":", "")
    )
    folder.mkdir(parents=True, exist_ok=True)
    swarm = options.target / "release" / "ringseed-swarm"
    wanted = [(repetition, load, seeder) for repetition in range(repetitions) for load in loads for seeder in found]
    runs = []
    try:
        with tempfile.TemporaryDirectory(prefix="compare-sessions-") as sessions:
            for repetition, load, seeder in wanted:
                session = pathlib.Path(sessions) / seeder.name
                run = one(swarm, seeder, content, net, cores, load, seconds, session)
                run.update(seeder=seeder.name, load=f"{load[0]} x {load[1]}", repetition=repetition)
                runs.append(run)
                print(tables.line_of(run), file=sys.stderr, flush=True)
                facts["resident_after"] = resident(data)
                write_tables(folder, facts, runs)
    finally:
        # Of a comparison that was broken off, what there is.
        facts.setdefault("resident_after", resident(data))
        write_tables(folder, facts, runs)
        written = ["table.md", "figures.json", *write_page(folder, facts, runs, swarm)]
        print(f"written to {folder}: {', '.join(written)}", file=sys.stderr)
    print((folder / "table.md").read_text())
    return int(bool(missing) or any("error" in run for run in runs))


def one(*what) -> dict:
    """One run. Whatever goes wrong with it costs this run alone."""
    try:
        return measure(*what)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def write_tables(folder: pathlib.Path, facts: dict, runs: list):
    figures = [{key: run[key] for key in run if key != "result"} for run in runs]
    (folder / "figures.json").write_text(json.dumps({"facts": facts, "runs": figures}, indent=1) + "\n")
    (folder / "table.md").write_text(tables.report_of(facts, runs))


def write_page(folder: pathlib.Path, facts: dict, runs: list, swarm: pathlib.Path) -> list[str]:
    """Each seeder's results, those of missing ones as failures, and the page that shows them side by
    side."""
    results = folder / "results"
    results.mkdir(exist_ok=True)
    files = []
    for name in (*facts["seeders"], *facts["missing"]):
        why = facts["missing"].get(name)
        for repetition in range(1 if why is not None else facts["repetitions"]):
            of_repetition = [run for run in runs if run["repetition"] == repetition]
            if why is None and not any(run["seeder"] == name for run in of_repetition):
                continue
            files.append(results / f"{name}-{repetition + 1}.json")
            files[-1].write_text(json.dumps(results_of(name, of_repetition, why)))
    if not files:
        return []
    page = subprocess.run(
        [swarm, "report", *files, "--out", folder / "report.html"], capture_output=True, text=True
    )
    if page.returncode == 0:
        return ["report.html"]
    print(f"compare.py: no report.html: {page.stderr.strip()}", file=sys.stderr)
    return []


def arguments():
    parser = argparse.ArgumentParser(prog="compare.sh", description=__doc__)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--target", type=pathlib.Path, required=True, help="cargo's target folder")
    parser.add_argument("--gib", type=int, default=2, help="GiB of data [2]")
    parser.add_argument("--piece-kib", type=int, default=1024, help="KiB of a piece [1024]")
    parser.add_argument("--only", nargs="+", metavar="SEEDER", help="measure these alone")
    parser.add_argument("--loads", nargs="+", default=[], metavar="CxD", help="other loads, as 100x64")
    parser.add_argument("--seconds", type=int, help="length of each measurement")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--out", type=pathlib.Path, help="folder of the report [reports/DATE]")
    return parser.parse_args()


def command_line() -> str:
    """As a person would type it again: cargo's target folder is the script's business."""
    flags = sys.argv[1:]
    at = flags.index("--target")
    return " ".join(["bench/compare.sh", *flags[:at], *flags[at + 2 :]])


def commit() -> str:
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
