"""A swarm on cold data: right bytes, little read twice, workers that never wait for a disk."""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys

from content import data_file, drop, resident, torrent_of
from cores import choose
from network import network
from programs import ringseed
from seeders import ENDS_WITH_US, Running, stop_by_signals


def main() -> int:
    options, net = arguments(), network()
    stop_by_signals()
    cores = choose()
    if not cores:
        print("cold.py: two cores are needed, one for the seeder and one for the swarm", file=sys.stderr)
        return 1
    data = data_file(options.target / "bench-data", options.gib << 30)
    program = options.target / "release" / "ringseed"
    content = torrent_of(program, data, options.piece_kib)

    drop(data)
    cold = resident(data)
    with Running(ringseed(program), content, net, cores.seeder) as running:
        verify = subprocess.run(
            [
                *ENDS_WITH_US, options.target / "release" / "ringseed-swarm", "verify", running.listen,
                "--torrent", content.torrent, "--from", net.leechers,
                "--connections", str(options.connections),
                "--depth", str(options.depth), "--warm-up", "0", "--seconds", str(options.seconds),
                "--core", str(cores.swarm), "--pid", str(running.pid), "--json",
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        read_bytes = read_from_disk(running.pid)
        events = [json.loads(line) for line in running.output().splitlines() if line.startswith("{")]
    if verify.returncode != 0:
        print(verify.stderr.strip(), file=sys.stderr)
        return 1
    phase = json.loads(verify.stdout)["phases"][0]
    load = phase["loads"][0]
    counts = load["counts"]
    waits = max(event["disk_waits"] for event in events if event["event"] == "rate")
    ratio = read_bytes / max(counts["distinct_bytes"], 1)
    report = {
        "cores": dataclasses.asdict(cores),
        "resident_before": cold,
        "connections": counts["unchoked"],
        "lost": counts["lost"],
        "gb_per_s": phase["cost"]["gb_per_s"],
        "pieces_verified": counts["pieces_verified"],
        "distinct_bytes": counts["distinct_bytes"],
        "data_bytes": content.total_bytes,
        "read_bytes": read_bytes,
        "read_per_distinct_byte": ratio,
        "worker_waits_outside_ring": waits,
        "latency_us": {
            name: load["latencies"]["request_to_piece"][f"{name}_us"] for name in ("p50", "p99", "p999", "max")
        },
    }
    print(json.dumps(report, indent=1))
    broken = [
        f"{cold:.2%} of the data was resident at the start" if cold > 0.001 else None,
        f"{counts['lost']} connections were lost" if counts["lost"] else None,
        f"{ratio:.3f} bytes read for each distinct byte sent" if ratio > options.read_max else None,
        f"workers waited {waits} times outside the ring" if waits > options.waits_max else None,
    ]
    for line in filter(None, broken):
        print(f"cold.py: {line}", file=sys.stderr)
    return int(any(broken))


def arguments():
    parser = argparse.ArgumentParser(prog="cold-start.sh", description=__doc__)
    parser.add_argument("--target", type=pathlib.Path, required=True, help="cargo's target folder")
    parser.add_argument("--gib", type=int, default=2, help="GiB of data [2]")
    parser.add_argument("--piece-kib", type=int, default=256, help="KiB of a piece [256]")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--read-max", type=float, default=1.1, help="bytes read a distinct byte [1.1]")
    parser.add_argument("--waits-max", type=int, default=100, help="waits outside the ring [100]")
    return parser.parse_args()


def read_from_disk(pid: int) -> int:
    """Bytes that this process made the system read from disks."""
    lines = pathlib.Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


if __name__ == "__main__":
    sys.exit(main())
