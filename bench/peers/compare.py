"""Measures seeders beside each other and writes one report. Started by compare-seeders.sh."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import socket
import subprocess
import sys

import seeders
import tables
from content import data_file, drop, read_through, resident

MODES = {
    # mode: (loads as connections x requests outstanding, seconds of each, repetitions)
    "quick": ([(100, 64), (1, 1)], 5, 1),
    "full": ([(1, 1), (100, 1), (10, 64), (100, 64), (1000, 16)], 10, 3),
}
SWARM_CORE = 1
OPENING_S = 30


def main() -> int:
    options = arguments()
    loads, seconds, repetitions = MODES[options.mode]
    loads = [tuple(map(int, load.split("x"))) for load in options.loads] or loads
    seconds = options.seconds or seconds
    repetitions = options.repetitions or repetitions
    if len(os.sched_getaffinity(0)) < 2:
        print("compare.py: two cores are needed, one for the seeder and one for the swarm", file=sys.stderr)
        return 1

    found, missing = seeders.find(options.target)
    if options.only:
        found = [seeder for seeder in found if seeder.name in options.only]
    for line in missing:
        print(line, file=sys.stderr)
    data = data_file(options.target / "bench-data", options.gib << 30)
    drop(data)
    content = seeders.make_torrent(options.target / "bench-data", data, options.piece_kib << 10)
    facts = {
        "command": command_line(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "kernel": platform.release(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "congestion_control": congestion_control(),
        "seeders": {seeder.name: seeder.version for seeder in found},
        "missing": missing,
        "data_bytes": content.total_bytes,
        "piece_bytes": content.piece_bytes,
        "seconds": seconds,
        "repetitions": repetitions,
    }
    read_through(data)
    facts["resident_before"] = resident(data)

    runs = []
    for repetition in range(repetitions):
        for load in loads:
            for seeder in found:
                run = measure(options.target, seeder, content, load, seconds)
                run.update(seeder=seeder.name, load=f"{load[0]} x {load[1]}", repetition=repetition)
                runs.append(run)
                print(tables.line_of(run), file=sys.stderr, flush=True)
    facts["resident_after"] = resident(data)

    folder = options.out or pathlib.Path("reports") / facts["date"][:10]
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"compare-seeders-{facts['date'][11:19].replace(':', '')}"
    stem.with_suffix(".json").write_text(json.dumps({"facts": facts, "runs": runs}, indent=1) + "\n")
    report = tables.report_of(facts, runs)
    stem.with_suffix(".md").write_text(report)
    print(report)
    print(f"written to {stem}.md and .json", file=sys.stderr)
    return 0 if all("error" not in run for run in runs) else 1


def arguments():
    parser = argparse.ArgumentParser(prog="compare-seeders.sh", description=__doc__)
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
    return " ".join(["bench/compare-seeders.sh", *flags[:at], *flags[at + 2 :]])


def measure(target, seeder, content, load, seconds) -> dict:
    """One flood against a freshly started seeder."""
    connections, depth = load
    read_through(content.path)
    try:
        with seeders.Running(seeder, content) as running:
            flood = subprocess.run(
                [
                    target / "release" / "ringseed-swarm", "flood", f"127.0.0.1:{running.port}",
                    "--torrent", content.torrent, "--connections", str(connections),
                    "--depth", str(depth), "--seconds", str(seconds), "--opening", str(OPENING_S),
                    "--pid", str(running.pid), "--core", str(SWARM_CORE), "--json",
                ],
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=OPENING_S + seconds + 60,
            )  # fmt: skip
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    if flood.returncode != 0:
        return {"error": flood.stderr.strip()}
    run = json.loads(flood.stdout)
    run["resident"] = resident(content.path)
    return run


def commit() -> str:
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return git.stdout.strip() or "unknown"


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def congestion_control() -> str:
    """What a new loopback connection gets here: a route may override the system's default."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as peer:
            return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


if __name__ == "__main__":
    sys.exit(main())
