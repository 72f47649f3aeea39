"""The seeders of a comparison: how each is started, and how it is known to serve.

Each is one process on one core. It is stopped by its own id, never by its name.
"""

import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

START_S = 120  # rqbit hashes all of the data before it serves
STOP_S = 10
SEEDER_CORE = 0
HERE = pathlib.Path(__file__).resolve().parent


@dataclass
class Content:
    """What is served."""

    folder: pathlib.Path
    name: str
    torrent: pathlib.Path
    info_hash: str
    piece_bytes: int
    total_bytes: int

    @property
    def path(self) -> pathlib.Path:
        return self.folder / self.name


@dataclass
class Seeder:
    """A program that can be measured: its command line for a port, and its version."""

    name: str
    version: str
    command: object  # (Content, port, scratch folder) -> list of arguments
    environment: dict = field(default_factory=dict)


class Running:
    """A started seeder; stops it at the end of a `with`."""

    def __init__(self, seeder: Seeder, content: Content):
        self.seeder, self.content, self.port = seeder, content, free_port()
        self.scratch = tempfile.TemporaryDirectory(prefix="compare-")
        self.log = open(pathlib.Path(self.scratch.name) / "log", "wb")

    def __enter__(self):
        command = self.seeder.command(self.content, self.port, self.scratch.name)
        self.process = subprocess.Popen(
            ["taskset", "--cpu-list", str(SEEDER_CORE), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd=self.scratch.name,
            env={**os.environ, **self.seeder.environment},
        )
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
        self.log.close()
        self.scratch.cleanup()

    @property
    def pid(self) -> int:
        return self.process.pid  # taskset becomes the seeder by exec

    def _wait_until_it_serves(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.seeder.name} ended at its start: {self._last_words()}")
            if unchokes(self.port, bytes.fromhex(self.content.info_hash)):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.seeder.name} did not serve within {START_S} s: {self._last_words()}")

    def output(self) -> str:
        """What it has printed so far."""
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def _last_words(self) -> str:
        return self.output()[-2000:].strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def unchokes(port: int, info_hash: bytes) -> bool:
    """Whether someone serves this torrent there: handshake, interested, unchoke."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as peer:
            peer.settimeout(20)
            hello = b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-RW0001-compare-prob"
            peer.sendall(hello + struct.pack(">IB", 1, 2))
            stream = peer.makefile("rb")
            if stream.read(68)[28:48] != info_hash:
                return False
            while head := stream.read(4):
                (length,) = struct.unpack(">I", head)
                message = stream.read(length)
                if message[:1] == b"\x01":
                    return True
    except OSError:
        pass
    return False


def find(target: pathlib.Path) -> tuple[list, list]:
    """The seeders that are here, and one line for each that is not."""
    examples = target / "release" / "examples"
    candidates = [
        (target / "release" / "ringseed", ringseed),
        (examples / "bare_splice", bare),
        (examples / "bare_copy", bare),
        (pathlib.Path(os.environ["RQBIT"]), rqbit),
        (pathlib.Path(os.environ["LIBTORRENT_PYTHON"]), libtorrent),
    ]
    found, missing = [], []
    for program, describe in candidates:
        try:
            found.append(describe(program))
        except (OSError, subprocess.CalledProcessError, IndexError) as error:
            missing.append(f"{program.name} is left out: {error}")
    return found, missing


def version_of(command: list) -> str:
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.search(r"\d+\.\d[\w.+-]*", output)[0]


def ringseed(program: pathlib.Path) -> Seeder:
    def command(content, port, scratch):
        return [
            program, "seed", content.torrent, "--data", content.folder, "--listen", f"127.0.0.1:{port}",
            "--cores", 1, "--slots", 0, "--connections", 20000, "--connections-per-address", 0,
            "--trust", "--state-dir", scratch, "--json",
        ]  # fmt: skip

    return Seeder("ringseed", version_of([program, "--version"]), command)


def bare(program: pathlib.Path) -> Seeder:
    if not program.exists():
        raise OSError("not built")

    def command(content, port, scratch):
        return [program, content.path, port, content.piece_bytes]

    return Seeder(program.name, "example of ringseed-ring", command)


def rqbit(program: pathlib.Path) -> Seeder:
    def command(content, port, scratch):
        return [
            program, "--disable-dht", "--disable-lsd", "--disable-trackers",
            "--disable-upnp-port-forward", "--listen-ip", "127.0.0.1", "--listen-port", port,
            "--peer-limit", 20000, "download", "--output-folder", content.folder, "--overwrite",
            "--disable-http-api", content.torrent,
        ]  # fmt: skip

    return Seeder("rqbit", version_of([program, "--version"]), command, {"HOME": "/nonexistent"})


def libtorrent(python: pathlib.Path) -> Seeder:
    def command(content, port, scratch):
        return [
            python, HERE / "libtorrent_seed.py", "--torrent", content.torrent,
            "--data", content.folder, "--port", port,
        ]  # fmt: skip

    return Seeder("libtorrent", version_of([python, "-c", "import libtorrent as l; print(l.__version__)"]), command)


def make_torrent(target: pathlib.Path, data: pathlib.Path, piece_bytes: int) -> Content:
    torrent = target / f"{data.name}.{piece_bytes}.torrent"
    made = subprocess.run(
        [os.environ["LIBTORRENT_PYTHON"], HERE / "make_torrent.py", "--data", data,
         "--piece-bytes", str(piece_bytes), "--torrent", torrent],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    facts = json.loads(made.stdout)
    return Content(
        data.parent, data.name, torrent, facts["info_hash"], facts["piece_length"], facts["total_bytes"]
    )
