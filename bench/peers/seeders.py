"""What a seeder of a comparison is: how it is started, known to serve, and stopped.

Each is one process on one core. It is stopped by its own id, never by its name.
"""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Callable, Optional

from content import Content
from network import Network

START_S = 180  # rqbit, Transmission and rTorrent hash all of the data before they serve
UNCHOKE_S = 25  # two rounds of those that unchoke by the clock
STOP_S = 15
CGROUP_PARENTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/memory")
# Even when we are killed.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
ENTER_CGROUP = ("bash", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"')


def stop_by_signals():
    """Signals that would end us at once end us as an exception does: what was started is stopped,
    and its folders go."""

    def leave(number, _):
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # once is enough: a second one would break off the stop
        raise SystemExit(128 + number)

    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(each, leave)


def own_cgroup() -> Optional[pathlib.Path]:
    """A cgroup for one seeder alone: reports then tell what the system keeps for it beside the page
    cache (sockets, pipes). None where none can be made; that figure is then left out."""
    for parent in map(pathlib.Path, CGROUP_PARENTS):
        try:
            with_memory = (parent / "memory.usage_in_bytes").exists() or (
                "memory" in (parent / "cgroup.subtree_control").read_text().split()
            )
            if with_memory:
                return pathlib.Path(tempfile.mkdtemp(prefix="ringseed-compare-", dir=parent))
        except OSError:
            continue
    return None


@dataclass
class Start:
    """Everything that a command line may need to know."""

    content: Content
    address: str
    port: int
    session: pathlib.Path  # the seeder's own folder, kept from one start to the next

    @property
    def listen(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass
class Seeder:
    """A program that can be measured."""

    name: str
    version: str
    command: Callable[[Start], list]
    environment: dict = field(default_factory=dict)


class Running:
    """A started seeder; stops it at the end of a `with`."""

    def __init__(
        self, seeder: Seeder, content: Content, network: Network, core: int | str,
        session: Optional[pathlib.Path] = None,
    ):
        self.seeder, self.content, self.core = seeder, content, core
        self.scratch = tempfile.TemporaryDirectory(prefix="compare-")
        session = session or pathlib.Path(self.scratch.name)
        session.mkdir(parents=True, exist_ok=True)
        self.start = Start(content, network.seeder, network.free_port(), session)
        self.log = open(pathlib.Path(self.scratch.name) / "log", "wb")
        self.cgroup = own_cgroup()

    def __enter__(self):
        try:
            command = map(str, self.seeder.command(self.start))
            enter = (*ENTER_CGROUP, str(self.cgroup)) if self.cgroup else ()
            self.process = subprocess.Popen(
                [*ENDS_WITH_US, *enter, "taskset", "--cpu-list", str(self.core), *command],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                cwd=self.start.session,
                env={**os.environ, **self.seeder.environment},
            )
        except BaseException:
            self._tidy()
            raise
        try:
            self._wait_until_it_serves()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._tidy()

    @property
    def pid(self) -> int:
        return self.process.pid  # each of these programs becomes the next by exec

    @property
    def listen(self) -> str:
        return self.start.listen

    def output(self) -> str:
        """What it has printed so far."""
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def _wait_until_it_serves(self):
        deadline = time.monotonic() + START_S
        wrong = "never tried"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"{self.seeder.name} ended at its start with code {self.process.returncode}: "
                    f"{self._last_words()}"
                )
            wrong = self._why_not()
            if wrong is None:
                return
            time.sleep(0.1)
        raise RuntimeError(
            f"{self.seeder.name} did not serve within {START_S} s ({wrong}): {self._last_words()}"
        )

    def _why_not(self) -> Optional[str]:
        """Why it does not serve yet. None: it does."""
        return why_not_unchoked(self.start, self.content)

    def _last_words(self) -> str:
        return self.output()[-1000:].strip() or "it said nothing"

    def _tidy(self):
        self.log.close()
        self.scratch.cleanup()
        if self.cgroup:
            try:
                self.cgroup.rmdir()
            except OSError as error:  # a child of the seeder that outlives it
                print(f"'{self.cgroup}' stays: {error.strerror}", file=sys.stderr)


def why_not_unchoked(start: Start, content: Content) -> Optional[str]:
    """Whether this torrent is served there: handshake, interested, unchoke. None: it is."""
    info_hash = bytes.fromhex(content.info_hash)
    try:
        with socket.create_connection((start.address, start.port), timeout=2) as peer:
            peer.settimeout(UNCHOKE_S)
            hello = b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-RW0001-compare-prob"
            peer.sendall(hello + struct.pack(">IB", 1, 2))
            stream = peer.makefile("rb")
            if stream.read(68)[28:48] != info_hash:
                return "it ended the handshake"
            while len(head := stream.read(4)) == 4:
                (length,) = struct.unpack(">I", head)
                message = stream.read(length)
                if message[:1] == b"\x01":
                    return None
            return "it ended the connection without an unchoke"
    except TimeoutError:
        return f"no unchoke within {UNCHOKE_S} s"
    except OSError as error:
        return str(error)
