"""One flood against one seeder, and the figures of it that tables show."""

import json
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
            read_through(content.path)  # Transmission drops what it has hashed
            flood = subprocess.run(
                [
                    swarm, "flood", running.listen, "--torrent", content.torrent,
                    "--from", network.leechers, "--connections", str(connections),
                    "--depth", str(depth), "--seconds", str(seconds),
                    "--opening", str(OPENING_S), "--pid", str(running.pid),
                    "--core", str(SWARM_CORE), "--title", seeder.name, "--json",
                ],
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=OPENING_S + seconds + 60,
            )  # fmt: skip
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    if not flood.stdout.strip():
        return {"error": flood.stderr.strip() or f"the swarm ended with code {flood.returncode}"}
    result = json.loads(flood.stdout)
    result["phases"][0]["name"] = f"{connections} x {depth}"
    run = {**figures_of(result), "resident": resident(content.path), "result": result}
    if result["failures"]:
        run["error"] = "; ".join(result["failures"])
    elif run["unchoked"] == 0:
        run["error"] = f"none of {connections} connections was unchoked within {OPENING_S} s"
    return run


def merged(results: list[dict]) -> dict:
    """Results of the same seeder under one load after another, as those of one run with a phase of
    each."""
    whole = {**results[0], "phases": [], "failures": [], "elapsed_s": 0.0}
    for result in results:
        for phase in result["phases"]:
            moved = {key: phase[key] + whole["elapsed_s"] for key in ("started_s", "counted_from_s")}
            whole["phases"].append({**phase, **moved})
        whole["failures"] += result["failures"]
        whole["elapsed_s"] += result["elapsed_s"]
    return whole


def figures_of(result: dict) -> dict:
    """What tables need of a result with one phase of one load (docs/reports.md)."""
    phase = result["phases"][0]
    cost, load = phase["cost"], phase["loads"][0]
    counts, latency = load["counts"], load["latencies"]["request_to_piece"]
    return {
        "gb_per_s": cost["gb_per_s"],
        "gb_per_cpu_s": cost["gb_per_cpu_s"] or 0.0,
        "gb_per_target_cpu_s": cost["gb_per_target_cpu_s"] or 0.0,
        "gb_per_own_cpu_s": cost["gb_per_own_cpu_s"] or 0.0,
        "p50_us": latency["p50_us"],
        "p99_us": latency["p99_us"],
        "busy_s": cost["busy_s"],
        "target_s": cost["target_s"] or 0.0,
        "own_s": cost["own_s"],
        "steal_s": cost["steal_s"],
        "all_s": cost["elapsed_s"] * result["machine"]["cores"],
        "connections": load["parameters"]["connections"],
        "unchoked": counts["unchoked"],
        "lost": counts["lost"],
        "rejects": counts["rejects"],
        "chokes": counts["chokes"],
        "remarks": phase["remarks"],
    }
