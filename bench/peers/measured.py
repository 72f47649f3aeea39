"""One flood against one seeder, and the figures of it that tables show."""

import json
import os
import pathlib
import subprocess

from content import Content, read_through, resident
from network import Network
from seeders import Running, Seeder

SWARM_CORE = 1
OPENING_S = 45  # those that unchoke by the clock may need several rounds of 10 s


def measure(
    swarm: pathlib.Path, seeder: Seeder, content: Content, network: Network, load: tuple[int, int],
    seconds: int, session: pathlib.Path,
) -> dict:
    """A flood against a freshly started seeder: figures, or an `error`."""
    connections, depth = load
    read_through(content.path)
    try:
        with Running(seeder, content, network, session) as running:
            flood = subprocess.run(
                [
                    swarm, "flood", running.listen, "--torrent", content.torrent,
                    "--from", network.leechers, "--connections", str(connections),
                    "--depth", str(depth), "--seconds", str(seconds),
                    "--opening", str(OPENING_S), "--pid", str(running.pid),
                    "--core", str(SWARM_CORE), "--json",
                ],
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=OPENING_S + seconds + 60,
            )  # fmt: skip
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    if flood.returncode != 0:
        return {"error": flood.stderr.strip() or f"the swarm ended with code {flood.returncode}"}
    result = json.loads(flood.stdout)
    figures = figures_of(result)
    figures["resident"] = resident(content.path)
    figures["result"] = result
    if figures["unchoked"] == 0:
        figures["error"] = f"none of {connections} connections was unchoked within {OPENING_S} s"
    return figures


def figures_of(run: dict) -> dict:
    """What tables need of `flood --json`."""
    cpu, latency = run["cpu_s"], run["latency_us"]
    return {
        "gb_per_s": run["gb_per_s"],
        "gb_per_cpu_s": run["gb_per_cpu_s"],
        "gb_per_target_cpu_s": run["gb_per_seeder_cpu_s"],
        "p50_us": latency["p50"],
        "p99_us": latency["p99"],
        "busy_s": cpu["busy"],
        "target_s": cpu["seeder"],
        "own_s": cpu["own"],
        "steal_s": cpu["steal"],
        "all_s": cpu["elapsed"] * (os.cpu_count() or 1),
        "connections": run["connections"],
        "unchoked": run["unchoked"],
        "lost": run["lost"],
        "rejects": run["rejects"],
        "chokes": run["chokes"],
    }
