"""One flood against one seeder, and the figures of it that tables show."""

import json
import os
import pathlib
import subprocess
import time
from typing import Optional

from content import Content, read_through, resident
from cores import Cores
from network import Network
from seeders import ENDS_WITH_US, Running, Seeder

SCHEMA = "ringseed-swarm/1"
OPENING_S = 45  # those that unchoke by the clock may need several rounds of 10 s


def measure(
    swarm: pathlib.Path, seeder: Seeder, content: Content, network: Network, cores: Cores,
    load: tuple[int, int], seconds: int, session: pathlib.Path,
) -> dict:
    """A flood against a freshly started seeder: figures, or an `error`."""
    connections, depth = load
    read_through(content.path)
    try:
        with Running(seeder, content, network, cores.seeder, session) as running:
            read_through(content.path)  # Transmission drops what it has hashed
            flood = subprocess.run(
                [
                    *ENDS_WITH_US, swarm, "flood", running.listen, "--torrent", content.torrent,
                    "--from", network.leechers, "--connections", str(connections),
                    "--depth", str(depth), "--seconds", str(seconds),
                    "--opening", str(OPENING_S), "--pid", str(running.pid),
                    "--core", str(cores.swarm), "--title", seeder.name, "--json",
                ],
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=OPENING_S + seconds + 60,
            )  # fmt: skip
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    if not flood.stdout.strip():
        return {"error": flood.stderr.strip() or f"the swarm ended with code {flood.returncode}"}
    result = json.loads(flood.stdout)
    for phase in result["phases"]:
        phase["name"] = f"{connections} x {depth}"
        phase["remarks"] += [cores.remark] if cores.remark else []
    if result["failures"]:
        return {"error": "; ".join(result["failures"]), "result": result}
    run = {**figures_of(result), "resident": resident(content.path), "result": result}
    if run["unchoked"] == 0:
        run["error"] = f"none of {connections} connections was unchoked within {OPENING_S} s"
    elif run["p50_us"] is None:
        run["error"] = f"no block came, though {run['unchoked']} connections were unchoked"
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


def results_of(name: str, runs: list[dict], why_missing: Optional[str]) -> dict:
    """What reports show of one repetition with this seeder: its results, and as failures why there
    are fewer than were wanted."""
    own = [run for run in runs if run["seeder"] == name]
    whole = merged([run["result"] for run in own if "result" in run] or [nothing(name, runs)])
    # What the swarm itself calls a failure stands there already.
    untold = [run for run in own if "error" in run and not run.get("result", {}).get("failures")]
    failures = [f"{run['load']}: {run['error']}" for run in untold]
    if why_missing is not None:
        failures.append(f"{name} is missing: {why_missing}")
    return {**whole, "failures": whole["failures"] + failures}


def nothing(name: str, runs: list[dict]) -> dict:
    """The results of a seeder that was never measured. The machine is that of the others, as far as
    one was; otherwise a page would tell of machines that differ."""
    other = next((run["result"] for run in runs if "result" in run), None)
    machine = {"cores": os.cpu_count(), "swarm_cores": [], "target_cores": [], "namespaces": 0}
    return {
        "schema": SCHEMA,
        "program": other["program"] if other else "compare.sh",
        "title": name,
        "command": [],
        "started_unix_ms": time.time_ns() // 1_000_000,
        "elapsed_s": 0.0,
        "machine": other["machine"] if other else machine,
        "target": {"total_bytes": 0, "piece_bytes": 0, "tracker": []},
        "phases": [],
        "failures": [],
    }


def figures_of(result: dict) -> dict:
    """What tables need of a result with one phase of one load (docs/reports.md)."""
    phase = result["phases"][0]
    cost, load = phase["cost"], phase["loads"][0]
    # Absent when no block came.
    counts, latency = load["counts"], load["latencies"].get("request_to_piece", {})
    return {
        "gb_per_s": cost["gb_per_s"],
        "gb_per_cpu_s": cost["gb_per_cpu_s"] or 0.0,
        "gb_per_target_cpu_s": cost["gb_per_target_cpu_s"] or 0.0,
        "gb_per_own_cpu_s": cost["gb_per_own_cpu_s"] or 0.0,
        "p50_us": latency.get("p50_us"),
        "p99_us": latency.get("p99_us"),
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
