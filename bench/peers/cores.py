"""The cores of a measurement: one for the seeder, another for the swarm."""

import os
import pathlib
import re
from dataclasses import dataclass
from typing import Optional

TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True)
class Cores:
    """Two cores, and what a reader must know of them."""

    seeder: int
    swarm: int
    remark: Optional[str] = None


def choose(allowed: Optional[set[int]] = None, topology: str = TOPOLOGY) -> Optional[Cores]:
    """The first core that we may use, and the first one besides that shares no hardware with it.
    None where there is one core only."""
    first, *others = sorted(allowed or os.sched_getaffinity(0))
    if not others:
        return None
    siblings = siblings_of(first, topology)
    if siblings is None:
        return Cores(first, others[0], f"it is not known whether cores {first} and {others[0]} are threads of one")
    apart = [core for core in others if core not in siblings]
    if apart:
        return Cores(first, apart[0])
    return Cores(
        first, others[0],
        f"cores {first} and {others[0]} are threads of one: seeder and swarm slow each other down",
    )  # fmt: skip


def siblings_of(core: int, topology: str) -> Optional[set[int]]:
    """The cores that are threads of the same one, itself among them. None: the system does not tell."""
    try:
        parts = pathlib.Path(topology.format(core)).read_text().strip().split(",")
    except OSError:
        return None
    bounds = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in parts]
    if not all(bounds):
        return None
    return {core for bound in bounds for core in range(int(bound[1]), int(bound[2] or bound[1]) + 1)}
