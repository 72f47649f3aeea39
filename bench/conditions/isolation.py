"""Conditions beside others: a slow device, peers that do not read."""

import contextlib
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

from content import drop, resident, torrent_of
from lab import (
    ENDS_WITH_US, Goal, Lab, Outcome, Seeder, cost_of, counters, latency, limit_memory, load_of, os, require_cold,
    require_resident,
)  # fmt: skip

SLOW_MS, SLOW_MIB = 200, 512
# Above it the leechers of the slow torrent were not slow: what is in the page cache is theirs at full speed.
SLOW_RESIDENT_MAX = 0.25


def slow_device(lab: Lab, options) -> Outcome:
    """The same loads with and without leechers of the slow torrent, in turn, against one seeder."""
    content, remarks = lab.data(options.mib), []
    found = {}
    with slow_torrent(lab) as slow:
        seeder = both(lab, slow)
        lab.warm(content)
        with lab.run(seeder, content) as running:
            found["hot"] = in_turn(options, running, lab, slow, remarks, loads_of_hot(lab, running, options))
            require_resident(content, remarks)
        require_cold(content, remarks)
        running = lab.run(seeder, content)
        if running.cgroup:
            limit_memory(running.cgroup, content.total_bytes // 4)
            with running:
                loads = {"gb_per_s": random_flood(lab, running, options)}
                found["cold"] = in_turn(options, running, lab, slow, remarks, loads)
    goals = []
    for data, figures in found.items():
        for name, runs in figures.items():
            alone, beside = statistics.median(runs["alone"]), statistics.median(runs["beside"])
            spread = (max(runs["alone"]) - min(runs["alone"])) / alone
            worse = alone / beside - 1 if name == "gb_per_s" else beside / alone - 1
            what = f"{name} of {data} data beside the slow device, worse by (its own spread {spread:.1%})"
            goals.append(Goal(what, worse * 100, 5, "%"))
    return Outcome(goals, found, remarks)


def loads_of_hot(lab: Lab, running, options) -> dict:
    first = lab.load(running, "flood", "--connections", 100, "--depth", 64, "--seconds", options.seconds)
    rate = load_of(first)["counts"]["answers"] / options.seconds / 2

    def flood():
        run = lab.load(running, "flood", "--connections", 100, "--depth", 64, "--seconds", options.seconds)
        return cost_of(run)["gb_per_s"]

    def p99():
        run = lab.load(
            running, "latency", "--connections", 100, "--rate", int(rate), "--order", "sequential",
            "--seconds", options.seconds,
        )  # fmt: skip
        return latency(load_of(run))["p99_us"]

    return {"gb_per_s": flood, "p99_us": p99}


def random_flood(lab: Lab, running, options):
    def flood():
        run = lab.load(
            running, "flood", "--connections", 100, "--depth", 64, "--order", "random", "--seconds", options.seconds
        )
        return cost_of(run)["gb_per_s"]

    return flood


def in_turn(options, running, lab: Lab, slow, remarks: list[str], loads: dict) -> dict:
    found = {name: {"alone": [], "beside": []} for name in loads}
    for _ in range(options.repetitions):
        for name, load in loads.items():
            found[name]["alone"].append(load())
            drop(slow.path)
            with leechers_of(lab, running, slow, options.seconds + 30):
                time.sleep(2)
                found[name]["beside"].append(load())
            share = resident(slow.path)
            if share > SLOW_RESIDENT_MAX:
                remarks.append(f"void: {share:.1%} of the slow torrent was in the page cache")
    return found


@contextlib.contextmanager
def leechers_of(lab: Lab, running, slow, seconds: int):
    """Ten leechers of the slow torrent; what they get is little."""
    command = [
        *ENDS_WITH_US, lab.swarm, "flood", running.listen, "--torrent", slow.torrent, "--from", lab.net.leechers.replace(".1.1..", ".200.1.."),
        "--connections", 10, "--depth", 16, "--order", "random", "--seconds", seconds, "--core", lab.cores.swarm, "--quiet",
    ]  # fmt: skip
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        alive = process.poll() is None
        process.terminate()
        process.wait()
        if not alive:
            raise RuntimeError("the leechers of the slow torrent ended early")


@contextlib.contextmanager
def slow_torrent(lab: Lab):
    """A torrent of its own whose data is on a FUSE mount each of whose reads takes 200 ms."""
    with tempfile.TemporaryDirectory(prefix="conditions-") as scratch:
        source, mount = pathlib.Path(scratch) / "source", pathlib.Path(scratch) / "mount"
        source.mkdir()
        mount.mkdir()
        data = source / "slow.bin"
        data.write_bytes(os.urandom(SLOW_MIB << 20))
        content = torrent_of(lab.release / "ringseed", data, 1024)
        with open(pathlib.Path(scratch) / "log", "w+") as log:
            server = subprocess.Popen(
                [*ENDS_WITH_US, lab.release / "faultfs", source, mount, f"delay {SLOW_MS}"], stdout=log, stderr=log
            )
            try:
                deadline = time.monotonic() + 10
                while not (mount / data.name).exists():
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"no FUSE mount: {pathlib.Path(log.name).read_text().strip()}")
                    time.sleep(0.05)
                yield type(content)(mount, data.name, mount / content.torrent.name, content.info_hash, 1 << 20, SLOW_MIB << 20)
            finally:
                server.terminate()
                server.wait()


def both(lab: Lab, slow) -> Seeder:
    """Seeds the usual data and the slow torrent, each beside its .torrent file."""
    plain = lab.ringseed()

    def command(start):
        words = plain.command(start)
        at = words.index("--data")
        return [*words[:at], slow.torrent, *words[at + 2 :]]

    return Seeder(plain.name, plain.version, command)


STALLED = """
[defaults]
seconds = {seconds}
opening = 60
[[phase]]
name = "alone"
load = [{{ mode = "latency", name = "fast", connections = 100, rate = 2000 }}]
[[phase]]
name = "beside stalled peers"
load = [
    {{ mode = "latency", name = "fast", connections = 100, rate = 2000 }},
    {{ mode = "slow", name = "stalled", connections = {stalled}, depth = 64, bytes_per_s = 1 }},
]
"""


def stalled(lab: Lab, options) -> Outcome:
    content, remarks = lab.data(options.mib), []
    lab.warm(content)
    low, pressure, _ = map(int, os.environ["TCP_MEM"].split())
    with lab.run(lab.ringseed(), content) as running, Watch() as watch:
        text = STALLED.format(seconds=options.seconds, stalled=options.connections)
        result = lab.scenario(running, text)
        held = counters(running)
    fast = [load_of(result, phase, "fast") for phase in (0, 1)]
    answered = [load["counts"]["answers"] / max(load["counts"]["requests"], 1) for load in fast]
    goals = [
        Goal(f"TCP memory with {options.connections} stalled peers, by its pressure mark", watch.most / pressure, 1.0, "of it"),
        Goal("requests of fast peers answered beside them", answered[1], 0.999, "of all", at_least=True),
    ]
    figures = {
        "tcp_pages_most": watch.most,
        "tcp_mem_pages": {"low": low, "pressure": pressure},
        "fast_p99_us": {"alone": latency(fast[0])["p99_us"], "beside": latency(fast[1])["p99_us"]},
        "resets_for_memory": held["resets_for_memory"],
        "partial_sends": held["partial_sends"],
        "unchoked": load_of(result, 1, "stalled")["counts"]["unchoked"],
    }
    return Outcome(goals, figures, remarks)


class Watch:
    """The most pages that TCP had for its sockets meanwhile. The kernel counts them for all namespaces
    together."""

    def __enter__(self):
        self.most, self.over = 0, threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self):
        while not self.over.wait(0.1):
            lines = pathlib.Path("/proc/net/sockstat").read_text().splitlines()
            words = next(line for line in lines if line.startswith("TCP:")).split()
            self.most = max(self.most, int(words[words.index("mem") + 1]))

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
