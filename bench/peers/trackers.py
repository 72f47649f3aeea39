"""The trackers that are compared, each on one core and as fast as its users could make it."""

import os
import pathlib
import re
import socket
import struct
import subprocess
from dataclasses import dataclass
from typing import Optional

from network import Network
from programs import installed
from seeders import Running, Seeder, Start

OURS = {"udp": "ringseed", "http": "ringseed-http"}
PEERS_TOLD = 50  # in an answer: what the load asks for
PROTOCOL_ID = 0x41727101980  # BEP 15
MASK = (1 << 64) - 1


@dataclass
class Tracker(Seeder):
    """A program that can be measured, by one of its protocols."""

    transport: str = "udp"
    keeps_peers: bool = True  # a floor keeps none


class RunningTracker(Running):
    """A started tracker; stops it at the end of a `with`."""

    def __init__(self, tracker: Tracker, network: Network, core: int):
        super().__init__(tracker, None, network, core)
        self.transport = tracker.transport

    def _why_not(self) -> Optional[str]:
        address = (self.start.address, self.start.port)
        try:
            if self.transport == "http":
                socket.create_connection(address, timeout=2).close()
                return None
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.settimeout(0.5)
                probe.connect(address)
                probe.send(struct.pack(">QII", PROTOCOL_ID, 0, 7))
                return None if len(probe.recv(2048)) == 16 else "it answers a connect with something else"
        except OSError as error:
            return str(error)

    def resident_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) << 10


def find(target: pathlib.Path, torrents: int) -> tuple[list[Tracker], dict[str, str]]:
    """The trackers that are here, and for each that is not why (compare.sh tries to install them
    and says in WHY_NAME what went wrong)."""
    release = target / "release"
    aquatic = lambda variable: installed(os.environ.get(variable, "not named"))  # noqa: E731
    opens = lambda transport: opentracker(installed("opentracker"), transport, torrents)  # noqa: E731
    candidates = {
        "ringseed": lambda: ringseed(release / "ringseed-tracker", "udp"),
        "aquatic_udp-mio": lambda: aquatic_udp("mio", aquatic("AQUATIC_UDP_MIO")),
        "aquatic_udp-uring": lambda: aquatic_udp("uring", aquatic("AQUATIC_UDP_URING")),
        "opentracker": lambda: opens("udp"),
        "bare_udp": lambda: bare(release / "examples" / "bare_udp", "udp"),
        "ringseed-http": lambda: ringseed(release / "ringseed-tracker", "http"),
        "aquatic_http": lambda: aquatic_http(aquatic("AQUATIC_HTTP")),
        "opentracker-http": lambda: opens("http"),
        "bare_http": lambda: bare(release / "examples" / "bare_http", "http"),
    }
    found, missing = [], {}
    for name, describe in candidates.items():
        try:
            found.append(describe())
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            program = name.split("-")[0]
            missing[name] = os.environ.get(f"WHY_{program.upper()}") or str(error)
    return found, missing


def ringseed(program: pathlib.Path, transport: str) -> Tracker:
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    command = lambda start: [program, f"--{transport}", start.listen]  # noqa: E731
    return Tracker(OURS[transport], version.split()[-1], command, transport=transport)


def bare(program: pathlib.Path, transport: str) -> Tracker:
    if not program.exists():
        raise RuntimeError(f"'{program}' is not built")
    command = lambda start: [program, start.listen]  # noqa: E731
    return Tracker(program.name, "floor", command, transport=transport, keeps_peers=False)


AQUATIC_UDP = """\
[network]
address = "{listen}"
[protocol]
max_response_peers = {peers}
"""
AQUATIC_HTTP = """\
[network]
address = "{listen}"
keep_alive = true
[protocol]
max_peers = {peers}
"""


def configured(program: str, text: str, start: Start) -> list:
    config = start.session / "config.toml"
    config.write_text(text.format(listen=start.listen, peers=PEERS_TOLD))
    return [program, "-c", config]


def aquatic_udp(back_end: str, program: str) -> Tracker:
    """One socket worker, its default. It tells no version: compare.sh installs the one it names."""
    command = lambda start: configured(program, AQUATIC_UDP, start)  # noqa: E731
    return Tracker(f"aquatic_udp-{back_end}", os.environ.get("AQUATIC_VERSION", "unknown"), command)


def aquatic_http(program: str) -> Tracker:
    """One worker for sockets and one for swarms, its default: it has no fewer."""
    command = lambda start: configured(program, AQUATIC_HTTP, start)  # noqa: E731
    version = os.environ.get("AQUATIC_VERSION", "unknown")
    return Tracker("aquatic_http", version, command, transport="http")


def opentracker(program: str, transport: str, torrents: int) -> Tracker:
    """Debian's build serves only what is on a white list."""

    def command(start: Start) -> list:
        start.session.chmod(0o755)  # it becomes another user
        white_list = start.session / "white-list"
        white_list.write_text("".join(f"{info_hash(number).hex()}\n" for number in range(torrents)))
        return [
            program, "-i", start.address, "-p", start.port, "-P", start.port,
            # It reads the list once this folder has become its root, or where it is where it may not do that.
            "-d", start.session, "-w", white_list.name,
        ]  # fmt: skip

    name = "opentracker" if transport == "udp" else "opentracker-http"
    query = ["dpkg-query", "--show", "--showformat=${Version}", "opentracker"]
    try:
        version = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        version = "unknown"
    return Tracker(name, version, command, transport=transport)


def info_hash(torrent: int) -> bytes:
    """As the load names its torrents (`info_hash` of bench/src/announce/crowd.rs)."""
    return b"".join(struct.pack(">Q", mix(torrent << 2 | at)) for at in range(3))[:20]


def mix(number: int) -> int:
    """As `mix` of bench/src/order.rs."""
    number = (number + 0x9E3779B97F4A7C15) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)
