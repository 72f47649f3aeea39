"""Several workers: both cores serve, with leechers on both beside them."""

import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from lab import Goal, Lab, Outcome, cost_of, counters, events, require_resident

LEECHERS = 25  # of each swarm: four of them, as many as the hundred of the other conditions


def two_workers(lab: Lab, options) -> Outcome:
    """In turn, each freshly started: one ringseed with two workers, and two of bare_splice. Against
    either, two swarms on each core; those of bare_splice ask the one on their core and the other one."""
    content, remarks = lab.data(options.mib), []
    cores = (lab.cores.seeder, lab.cores.swarm)
    found = {"ringseed": [], "bare_splice": []}
    for _ in range(options.repetitions):
        for name, runs in found.items():
            lab.warm(content)
            runs.append(once(lab, content, name, cores, options.seconds))
            require_resident(content, remarks)
    middle = {name: statistics.median(run["gb_per_cpu_s"] for run in runs) for name, runs in found.items()}
    rates = {name: statistics.median(run["gb_per_s"] for run in runs) for name, runs in found.items()}
    goal = Goal(
        "GB/CPU-s of two workers, by that of two bare_splice",
        middle["ringseed"] / middle["bare_splice"], 0.9, "of it", at_least=True,
    )  # fmt: skip
    return Outcome([goal], {"gb_per_cpu_s": middle, "gb_per_s": rates, "runs": found}, remarks)


def once(lab: Lab, content, name: str, cores: tuple[int, int], seconds: int) -> dict:
    with ExitStack() as stack:
        if name == "ringseed":
            both = lab.run(lab.ringseed(cores=len(cores)), content, ",".join(map(str, cores)))
            targets = [stack.enter_context(both)] * len(cores)
        else:
            targets = [stack.enter_context(lab.run(lab.bare_splice(), content, core)) for core in cores]

        def swarm(pair):
            target, core = pair
            return lab.load(
                target, "flood", "--connections", LEECHERS, "--depth", 64, "--seconds", seconds, core=core
            )  # fmt: skip

        pairs = [(target, core) for target in targets for core in cores]
        with ThreadPoolExecutor(len(pairs)) as pool:
            costs = [cost_of(result) for result in pool.map(swarm, pairs)]
        # Each tells its own bytes by the busy time of all cores, in the same seconds.
        run = {key: sum(cost[key] for cost in costs) for key in ("gb_per_cpu_s", "gb_per_s")}
        if name == "ringseed":
            total = counters(targets[0])
            run["moved"], run["moves_refused"] = total["moved_here"], total["moves_refused"]
            told = events(targets[0], "counters")[-1]["workers"]
            run["block_bytes_by_worker"] = [worker["block_bytes"] for worker in told]
    return run
