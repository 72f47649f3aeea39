"""What every condition needs: programs, data, loads, counters, memory cgroups."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

import programs
from content import Content, data_file, drop, read_through, resident, torrent_of
from cores import choose
from network import network
from seeders import ENDS_WITH_US, Running, Seeder, own_cgroup

RESIDENT_MIN = 0.995  # below it a load of what lies in the page cache has measured a disk
COUNTERS_S = 10


@dataclass
class Goal:
    what: str
    value: float
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def line(self) -> str:
        wanted = "at least" if self.at_least else "at most"
        verdict = "met   " if self.met else "MISSED"
        return f"{verdict} {self.what}: {self.value:.4g} {self.unit} ({wanted} {self.bound:g})".replace(" (", " (", 1)


@dataclass
class Outcome:
    """What a condition came to."""

    goals: list[Goal]
    figures: dict = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


class Lab:
    def __init__(self, target: pathlib.Path):
        self.target = target
        self.release = target / "release"
        self.swarm = self.release / "ringseed-swarm"
        self.net = network()
        self.cores = choose()
        if not self.cores:
            raise SystemExit("conditions.sh: two cores are needed, one for the seeder and one for the swarm")

    def data(self, mib: int, piece_kib: int = 1024) -> Content:
        data = data_file(self.target / "bench-data", mib << 20)
        return torrent_of(self.release / "ringseed", data, piece_kib)

    def ringseed(self, *more, cores: int = 1) -> Seeder:
        plain = programs.ringseed(self.release / "ringseed", cores)
        return Seeder(plain.name, plain.version, lambda start: [*plain.command(start), *more])

    def bare_splice(self) -> Seeder:
        return programs.bare(self.release / "examples" / "bare_splice")

    def run(self, seeder: Seeder, content: Content, core: int | str | None = None) -> Running:
        """`core`: another than usual, or several as taskset takes them."""
        return Running(seeder, content, self.net, self.cores.seeder if core is None else core)

    def warm(self, content: Content) -> None:
        """Into the page cache as a check at the start would bring it: in large folios."""
        read_through(content.path)

    def load(self, running: Running, mode: str, *flags, namespaces=(), patience: int = 300, core: int | None = None) -> dict:
        """A run of ringseed-swarm against it: its result."""
        where = ["--netns", ",".join(namespaces)] if namespaces else ["--from", self.net.leechers]
        begin = [mode, running.listen] if mode != "run" else [mode, flags[0], running.listen]
        rest = flags if mode != "run" else flags[1:]
        command = [
            *ENDS_WITH_US, self.swarm, *begin, "--torrent", running.content.torrent, *where,
            "--pid", running.pid, "--core", self.cores.swarm if core is None else core, "--json", *rest,
        ]  # fmt: skip
        done = subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience
        )
        if not done.stdout.strip():
            raise RuntimeError(f"the swarm ended with code {done.returncode}: {done.stderr.strip()}")
        result = json.loads(done.stdout)
        # Whoever reads a byte a second gets no whole block in the time of a run.
        failures = [failure for failure in result["failures"] if "'stalled'" not in failure]
        if failures:
            raise RuntimeError("; ".join(failures))
        return result

    def scenario(self, running: Running, text: str, *flags, patience: int = 300) -> dict:
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            return self.load(running, "run", file.name, *flags, patience=patience)


def events(running: Running, kind: str) -> list[dict]:
    lines = [line for line in running.output().splitlines() if line.startswith("{") and line.endswith("}")]
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def counters(running: Running) -> dict:
    """All that the seeder has counted; SIGUSR1 asks for it (docs/counters.md)."""
    time.sleep(0.3)  # some of it is copied four times a second
    known = len(events(running, "counters"))
    os.kill(running.pid, signal.SIGUSR1)
    deadline = time.monotonic() + COUNTERS_S
    while time.monotonic() < deadline:
        told = events(running, "counters")
        if len(told) > known:
            return {**told[-1]["total"], "io_worker_threads": told[-1]["io_worker_threads"]}
        time.sleep(0.05)
    raise RuntimeError(f"no counters within {COUNTERS_S} s of SIGUSR1")


def between(before: dict, after: dict) -> dict:
    """What happened between two readings; distributions as {count, p50, p9999, max} of microseconds."""
    grown = {}
    for name, value in after.items():
        if isinstance(value, dict):
            earlier = dict(map(tuple, before[name]["buckets"]))
            buckets = [(us, count - earlier.get(us, 0)) for us, count in value["buckets"]]
            grown[name] = spread_of([(us, count) for us, count in buckets if count > 0])
        elif isinstance(value, int):
            grown[name] = value - (before[name] or 0)
    return grown


def spread_of(buckets: list[tuple[int, int]]) -> dict:
    whole = sum(count for _, count in buckets)
    found = {"count": whole}
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p9999", 0.9999), ("max", 1.0)):
        seen, found[name] = 0, 0
        for us, count in buckets:
            seen += count
            if seen >= share * whole:
                found[name] = us
                break
    return found


def load_of(result: dict, phase: int = 0, name: str = "") -> dict:
    loads = result["phases"][phase]["loads"]
    return next(load for load in loads if not name or load["name"] == name)


def cost_of(result: dict, phase: int = 0) -> dict:
    return result["phases"][phase]["cost"]


def latency(load: dict) -> dict:
    return load["latencies"]["request_to_piece"]


def read_from_disk(pid: int) -> int:
    """Bytes that this process made the system read from disks."""
    lines = pathlib.Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def limit_memory(cgroup: pathlib.Path, limit: int) -> None:
    """The most that it may use, page cache and all."""
    for name in ("memory.limit_in_bytes", "memory.max"):
        if (cgroup / name).exists():
            (cgroup / name).write_text(str(limit))
            return
    raise RuntimeError(f"'{cgroup}' has no limit of memory")


def memory_cgroup() -> pathlib.Path:
    made = own_cgroup()
    if not made:
        raise SystemExit("conditions.sh: a memory cgroup is needed (root, cgroup v1 or v2 with its memory controller)")
    return made


def require_resident(content: Content, remarks: list[str]) -> None:
    share = resident(content.path)
    if share < RESIDENT_MIN:
        remarks.append(f"void: {share:.1%} of the data was in the page cache")


def require_cold(content: Content, remarks: list[str]) -> None:
    drop(content.path)
    share = resident(content.path)
    if share > 0.001:
        remarks.append(f"void: {share:.1%} of the data was in the page cache at the start")
