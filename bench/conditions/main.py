"""Measures ringseed under one condition. Started by conditions.sh."""

import argparse
import json
import pathlib
import subprocess
import sys

# What seeders, data and networks are, comparisons and conditions have in common.
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from announces import tracker_soak  # noqa: E402
from disk import amplification, memory  # noqa: E402
from isolation import slow_device, stalled  # noqa: E402
from lab import Lab  # noqa: E402
from rest import idle, soak  # noqa: E402
from seeders import stop_by_signals  # noqa: E402
from speed import epoll, open_loop, veth  # noqa: E402
from workers import two_workers  # noqa: E402

CONDITIONS = {
    # name: (function, seconds of each load, repetitions, MiB of data)
    "veth": (veth, 5, 3, 2048),
    "memory": (memory, 8, 3, 2048),
    "amplification": (amplification, 20, 1, 1000),
    "slow-device": (slow_device, 5, 3, 2048),
    "stalled": (stalled, 15, 1, 1024),
    "idle": (idle, 10, 1, 1024),
    "soak": (soak, 20, 1, 1024),
    "tracker-soak": (tracker_soak, 4, 1, 0),
    "epoll": (epoll, 5, 3, 2048),
    "open-loop": (open_loop, 8, 3, 2048),
    "two-workers": (two_workers, 3, 3, 1024),
}


def main() -> int:
    options = arguments()
    stop_by_signals()
    condition, *_ = CONDITIONS[options.condition]
    outcome = condition(Lab(options.target), options)
    for goal in outcome.goals:
        print(f"{options.condition:14} {goal.line()}")
    for remark in outcome.remarks:
        print(f"{options.condition:14} remark: {remark}")
    print(
        json.dumps(
            {
                "condition": options.condition,
                "commit": commit(),
                "goals": [{"what": goal.what, "value": goal.value, "bound": goal.bound, "met": goal.met} for goal in outcome.goals],
                "remarks": outcome.remarks,
                "seconds": options.seconds,
                "repetitions": options.repetitions,
                "figures": outcome.figures,
            }
        )
    )
    return int(not all(goal.met for goal in outcome.goals) or any("void" in remark for remark in outcome.remarks))


def commit() -> str:
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def arguments():
    parser = argparse.ArgumentParser(prog="conditions.sh", description=__doc__)
    conditions = parser.add_subparsers(dest="condition", required=True, metavar="CONDITION")
    for name, (_, seconds, repetitions, mib) in CONDITIONS.items():
        flags = conditions.add_parser(name)
        flags.add_argument("--target", type=pathlib.Path, required=True, help="cargo's target folder")
        flags.add_argument("--seconds", type=int, default=seconds, help=f"length of each load [{seconds}]")
        flags.add_argument("--repetitions", type=int, default=repetitions, help=f"[{repetitions}]")
        flags.add_argument("--mib", type=int, default=mib, help=f"MiB of data [{mib}]")
        if name in ("stalled", "idle"):
            many = 6000 if name == "stalled" else 10000
            flags.add_argument("--connections", type=int, default=many, help=f"[{many}]")
        if name in ("soak", "tracker-soak"):
            flags.add_argument("--minutes", type=int, default=30, help="how long [30]")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
