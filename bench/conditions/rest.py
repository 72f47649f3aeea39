"""Conditions of memory: connections that say nothing, and a soak."""

import statistics

from lab import Goal, Lab, Outcome, load_of


def idle(lab: Lab, options) -> Outcome:
    content, remarks = lab.data(options.mib), []
    with lab.run(lab.ringseed(), content) as running:
        result = lab.load(running, "idle", "--connections", options.connections, "--seconds", options.seconds)
    phase = result["phases"][0]
    before, last = phase["memory_before"], phase["series"][-1]
    held = last["connections"]
    if held < options.connections:
        remarks.append(f"{held} connections were open at the end")
    each = {
        name: (last["memory"][name] - before[name]) / held
        for name in ("anonymous_bytes", "cgroup_less_file_bytes")
        if last["memory"].get(name) is not None and before.get(name) is not None
    }
    goals = [Goal("anonymous memory of an idle connection", each["anonymous_bytes"], 1024, "bytes")]
    return Outcome(goals, {"connections": held, "each": each, "lost": load_of(result)["counts"]["lost"]}, remarks)


SOAK = """
[[phase]]
name = "all"
seconds = 20
load = [
    { mode = "flood", connections = 50, depth = 16, order = "random" },
    { mode = "latency", connections = 20, rate = 500 },
    { mode = "churn", rate = 50, blocks = 4 },
    { mode = "slow", connections = 50 },
]
[[phase]]
name = "nothing"
seconds = 2
warm_up = 0
load = [{ mode = "idle", connections = 100 }]
"""

GROWTH_MIB = 2  # as ringseed-swarm's own check for leaks


def soak(lab: Lab, options) -> Outcome:
    content, remarks = lab.data(options.mib), []
    lab.warm(content)
    with lab.run(lab.ringseed(), content) as running:
        result = lab.scenario(running, SOAK, "--for", f"{options.minutes}m", patience=options.minutes * 90 + 300)
    rounds = [phase for phase in result["phases"] if phase["name"].startswith("all")]
    if len(rounds) < 8:
        remarks.append(f"void: {len(rounds)} rounds are too few for a verdict; more --minutes")
    goals, figures = [], {"rounds": len(rounds), "minutes": options.minutes}
    for name in ("cgroup_less_file_bytes", "anonymous_bytes"):
        held = [phase["memory_before"].get(name) for phase in rounds]
        if not held or None in held:
            remarks.append(f"{name} could not be read")
            continue
        settled = held[len(held) // 4 :]
        third = max(len(settled) // 3, 1)
        growth = statistics.median(settled[-third:]) - statistics.median(settled[:third])
        figures[name] = held
        goals.append(Goal(f"growth of {name} between the rounds", growth / (1 << 20), GROWTH_MIB, "MiB"))
    return Outcome(goals, figures, remarks)
