"""Conditions of speed with all data in the page cache: veth, epoll, open loops."""

import os
import statistics
import subprocess

from lab import ENDS_WITH_US, Goal, Lab, Outcome, cost_of, counters, latency, load_of, require_resident


def alternate(lab: Lab, content, kinds: dict, seconds: int, repetitions: int, remarks: list, namespaces=()) -> dict:
    """100 x 64 against each kind in turn, freshly started: GB per CPU-second over all cores."""
    found = {name: [] for name in kinds}
    for _ in range(repetitions):
        for name, seeder in kinds.items():
            lab.warm(content)
            with lab.run(seeder, content) as running:
                flood = lab.load(
                    running, "flood", "--connections", 100, "--depth", 64, "--seconds", seconds, namespaces=namespaces
                )
                cost = cost_of(flood)
                found[name].append(
                    {key: cost[key] for key in ("gb_per_cpu_s", "gb_per_target_cpu_s", "gb_per_s")}
                )
            require_resident(content, remarks)
    return found


def compared(found: dict, ours: str, other: str, what: str, bound: float) -> Outcome:
    middle = {name: statistics.median(run["gb_per_cpu_s"] for run in runs) for name, runs in found.items()}
    spread = {
        name: (max(costs) - min(costs)) / statistics.median(costs)
        for name, costs in ((name, [run["gb_per_cpu_s"] for run in runs]) for name, runs in found.items())
    }
    goal = Goal(what, middle[ours] / middle[other], bound, "of it", at_least=True)
    return Outcome([goal], {"gb_per_cpu_s": middle, "spread": spread, "runs": found})


def veth(lab: Lab, options) -> Outcome:
    content, remarks = lab.data(options.mib), []
    with Namespace(lab) as namespace:
        kinds = {"ringseed": lab.ringseed(), "bare_splice": lab.bare_splice()}
        found = alternate(
            lab, content, kinds, options.seconds, options.repetitions, remarks, namespaces=[namespace.path]
        )
    outcome = compared(found, "ringseed", "bare_splice", "GB/CPU-s through veth, by bare_splice's", 0.85)
    outcome.remarks = remarks
    return outcome


def epoll(lab: Lab, options) -> Outcome:
    content, remarks = lab.data(options.mib), []
    kinds = {"epoll": lab.ringseed("--kernel", "epoll"), "io-uring": lab.ringseed("--kernel", "io-uring")}
    found = alternate(lab, content, kinds, options.seconds, options.repetitions, remarks)
    outcome = compared(found, "epoll", "io-uring", "GB/CPU-s with epoll, by io_uring's", 0.85)
    outcome.remarks = remarks
    return outcome


OPEN_LOOP = """
[defaults]
seconds = {seconds}
[[phase]]
name = "alone"
load = [{{ mode = "latency", name = "fast", connections = 100, rate = {rate} }}]
[[phase]]
name = "beside slow readers"
load = [
    {{ mode = "latency", name = "fast", connections = 100, rate = {rate} }},
    {{ mode = "slow", connections = 100 }},
]
"""


def open_loop(lab: Lab, options) -> Outcome:
    content, remarks = lab.data(options.mib), []
    lab.warm(content)
    with lab.run(lab.ringseed(), content) as running:
        flood = lab.load(running, "flood", "--connections", 100, "--depth", 64, "--seconds", options.seconds)
    rate = load_of(flood)["counts"]["answers"] / options.seconds / 2
    p99 = {name: {"alone": [], "beside slow readers": []} for name in ("ringseed", "bare_splice")}
    for _ in range(options.repetitions):
        for name, seeder in (("ringseed", lab.ringseed()), ("bare_splice", lab.bare_splice())):
            lab.warm(content)
            with lab.run(seeder, content) as running:
                result = lab.scenario(running, OPEN_LOOP.format(seconds=options.seconds, rate=rate))
            for phase, of in enumerate(p99[name].values()):
                load = load_of(result, phase, "fast")
                of.append(latency(load)["p99_us"])
                late = load["latencies"]["late"]["p99_us"]
                if late * 2 > of[-1]:
                    remarks.append(f"{name}: the load itself was late, p99 {late} us")
            require_resident(content, remarks)
    middle = {name: {phase: statistics.median(of) for phase, of in phases.items()} for name, phases in p99.items()}
    ours, floor = middle["ringseed"], middle["bare_splice"]
    noise = max(p99["ringseed"]["alone"]) / ours["alone"]
    goals = [
        Goal("p99 at half of our peak, by bare_splice's", ours["alone"] / floor["alone"], 1.3, "of it"),
        Goal(
            "p99 beside 100 slow readers, by that without",
            ours["beside slow readers"] / ours["alone"], max(1.1, noise), "of it",
        ),
    ]  # fmt: skip
    return Outcome(goals, {"rate_per_s": rate, "p99_us": middle, "runs": p99}, remarks)


class Namespace:
    """Another network namespace, with a veth pair to this one and cubic on both ways."""

    NEAR, FAR, OURS, THEIRS = "rsc{}a", "rsc{}b", "10.78.1.1", "10.78.1.2"

    def __init__(self, lab: Lab):
        if not lab.net.private:
            raise SystemExit("conditions.sh: a network namespace is needed (root or user namespaces)")

    def __enter__(self):
        own = os.getpid() % 100000
        near, far = self.NEAR.format(own), self.FAR.format(own)
        self.holder = subprocess.Popen([*ENDS_WITH_US, "unshare", "--net", "--", "sleep", "infinity"])
        self.path = f"/proc/{self.holder.pid}/ns/net"
        while os.readlink(self.path) == os.readlink("/proc/self/ns/net"):
            if self.holder.poll() is not None:
                raise RuntimeError("no second network namespace is to be had")
        inside = ["nsenter", f"--net={self.path}"]
        route = f"{lab_net()}.0.0/16 via {self.OURS} congctl cubic".split()
        for command in (
            f"ip link add {near} type veth peer name {far} netns {self.holder.pid}".split(),
            f"ip address add {self.OURS}/30 dev {near}".split(),
            f"ip link set {near} up".split(),
            f"ip route replace 10.78.1.0/30 dev {near} src {self.OURS} congctl cubic".split(),
            [*inside, "ip", "link", "set", "lo", "up"],
            [*inside, "ip", "address", "add", f"{self.THEIRS}/30", "dev", far],
            [*inside, "ip", "link", "set", far, "up"],
            [*inside, "ip", "route", "add", *route],
        ):
            subprocess.run(command, check=True)
        return self

    def __exit__(self, *_):
        self.holder.kill()
        self.holder.wait()


def lab_net() -> str:
    return os.environ["RINGSEED_BENCH_NET"]
