"""The tracker under churn: memory that does not come back."""

import json
import re
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

from lab import Goal, Lab, Outcome
from seeders import ENDS_WITH_US
from trackers import RunningTracker, Tracker

INTERVAL_S = 5
SILENT_S = 2 * INTERVAL_S + 120  # then a peer is forgotten (docs/tracker.md)
PEERS = 2_000_000  # of which those announce that the rate draws: most are forgotten before they come again
TORRENTS = 20_000
RATE = {"udp": 20_000, "http": 2_000}  # a second, while there is time
ROUNDS_MIN = 8
GROWTH_MIB = 2
HELD_MIN = 0.2  # of all peers: with fewer the tables are too small for a leak to show


def tracker_soak(lab: Lab, options) -> Outcome:
    """Peers come, some leave, most fall silent and are forgotten while others come."""
    program = lab.release / "ringseed-tracker"
    tracker = Tracker(
        "ringseed", "",
        lambda start: [
            program, "--udp", start.listen, "--http", start.listen, "--interval", INTERVAL_S,
            "--min-interval", INTERVAL_S,
        ],
    )  # fmt: skip
    held, peers, at_s, remarks = [], [], [], []
    with RunningTracker(tracker, lab.net, lab.cores.seeder) as running:
        began = time.monotonic()
        while time.monotonic() < began + options.minutes * 60:
            announce(lab, running, options.seconds)
            held.append(anonymous_bytes(running.pid))
            peers.append(peers_of(running))
            at_s.append(time.monotonic() - began)
    # Until the first are forgotten there are more from round to round.
    settled = [bytes_held for bytes_held, at in zip(held, at_s) if at > 1.2 * SILENT_S]
    if len(settled) < ROUNDS_MIN:
        remarks.append(f"void: {len(settled)} rounds behind the first {1.2 * SILENT_S:.0f} s are too few; more --minutes")
        settled = settled or held
    if peers[-1] < HELD_MIN * PEERS:
        remarks.append(f"void: {peers[-1]} peers at the end are less than {HELD_MIN:.0%} of all: too few announced")
    third = max(len(settled) // 3, 1)
    growth = statistics.median(settled[-third:]) - statistics.median(settled[:third])
    goals = [
        Goal("growth of anonymous memory between the rounds", growth / (1 << 20), GROWTH_MIB, "MiB"),
        # Or nothing would be forgotten, and nothing shown.
        Goal("peers at the end, by all that there are", peers[-1] / PEERS, 0.7),
    ]
    return Outcome(goals, {"rounds": len(held), "minutes": options.minutes, "at_s": at_s, "anonymous_bytes": held, "peers": peers}, remarks)


def announce(lab: Lab, running: RunningTracker, seconds: int) -> None:
    for transport, where in (("udp", running.listen), ("http", f"http://{running.listen}/announce")):
        done = subprocess.run(
            [
                *ENDS_WITH_US, lab.swarm, "announce", f"--{transport}", where, "--from", lab.net.leechers,
                "--rate", str(RATE[transport]), "--torrents", str(TORRENTS), "--peers", str(PEERS),
                "--scrapes", "0.05", "--seconds", str(seconds), "--core", str(lab.cores.swarm), "--json",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 120,
        )  # fmt: skip
        if not done.stdout.strip():
            raise RuntimeError(f"the load ended with code {done.returncode}: {done.stderr.strip()}")
        result = json.loads(done.stdout)
        if result["failures"]:
            raise RuntimeError(f"the load over {transport} failed: {'; '.join(result['failures'])}")
        if not sum(load["counts"]["answers"] for phase in result["phases"] for load in phase["loads"]):
            raise RuntimeError(f"not one answer over {transport}")


def anonymous_bytes(pid: int) -> int:
    return int(re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)[1]) << 10


def peers_of(running: RunningTracker) -> int:
    """As its own figures say."""
    with urllib.request.urlopen(f"http://{running.listen}/stats", timeout=10) as answer:
        return json.load(answer)["peers"]
