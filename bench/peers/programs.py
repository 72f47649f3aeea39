"""The seeders that are compared, each as fast as its users could make it."""

import json
import os
import pathlib
import re
import resource
import shutil
import subprocess

from network import Network
from seeders import Seeder, Start

CONNECTIONS = 20000  # more than any load opens
HERE = pathlib.Path(__file__).resolve().parent


def find(target: pathlib.Path, network: Network) -> tuple[list[Seeder], dict[str, str]]:
    """The seeders that are here, and for each that is not why (compare.sh tries to install them
    and says in WHY_NAME what went wrong)."""
    examples = target / "release" / "examples"
    candidates = {
        "ringseed": lambda: ringseed(target / "release" / "ringseed"),
        "libtorrent": lambda: libtorrent(os.environ.get("LIBTORRENT_PYTHON", "python3")),
        "rqbit": lambda: rqbit(installed(os.environ.get("RQBIT", "rqbit"))),
        "transmission": lambda: transmission(installed("transmission-daemon"), network),
        "rtorrent": lambda: rtorrent(installed("rtorrent")),
        "bare_splice": lambda: bare(examples / "bare_splice"),
        "bare_copy": lambda: bare(examples / "bare_copy"),
    }
    found, missing = [], {}
    for name, describe in candidates.items():
        try:
            found.append(describe())
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            missing[name] = os.environ.get(f"WHY_{name.upper()}") or str(error)
    return found, missing


def installed(program: str) -> str:
    path = shutil.which(program)
    if not path:
        raise RuntimeError(f"'{program}' is not installed")
    return path


def version_of(*command) -> str:
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    version = re.search(r"\d+\.\d[\w.+-]*", run.stdout + run.stderr)
    if not version:
        raise RuntimeError(f"'{command[0]}' tells no version")
    return version[0].rstrip(".")


def ringseed(program: pathlib.Path, cores: int = 1) -> Seeder:
    def command(start: Start) -> list:
        return [
            program, "seed", start.content.torrent, "--data", start.content.folder,
            "--listen", start.listen, "--cores", cores, "--slots", 0, "--connections", CONNECTIONS,
            "--connections-per-address", 0, "--trust", "--state-dir", start.session, "--json",
        ]  # fmt: skip

    return Seeder("ringseed", version_of(program, "--version"), command)


def bare(program: pathlib.Path) -> Seeder:
    if not program.exists():
        raise RuntimeError(f"'{program}' is not built")

    def command(start: Start) -> list:
        return [program, start.content.path, start.listen, start.content.piece_bytes]

    return Seeder(program.name, "floor", command)


def rqbit(program: str) -> Seeder:
    def command(start: Start) -> list:
        return [
            program, "--disable-dht", "--disable-lsd", "--disable-trackers",
            "--disable-upnp-port-forward", "--listen-ip", start.address, "--listen-port", start.port,
            "--peer-limit", CONNECTIONS, "download", "--output-folder", start.content.folder,
            "--overwrite", "--disable-http-api", start.content.torrent,
        ]  # fmt: skip

    return Seeder("rqbit", version_of(program, "--version"), command, {"HOME": "/nonexistent"})


def libtorrent(python: str) -> Seeder:
    def command(start: Start) -> list:
        return [
            python, HERE / "libtorrent_seed.py", "--torrent", start.content.torrent,
            "--data", start.content.folder, "--listen", start.listen,
        ]  # fmt: skip

    version = version_of(python, "-c", "import libtorrent as l; print(l.__version__)")
    return Seeder("libtorrent", version, command)


def transmission(program: str, network: Network) -> Seeder:
    """Transmission of Debian 12. It unchokes in rounds of 10 s, and holds itself to 1,024
    descriptors."""
    if not network.private:
        raise RuntimeError(
            "it refuses peers at loopback addresses, and without a network namespace there are no others"
        )

    def command(start: Start) -> list:
        settings = {
            "download-dir": str(start.content.folder),
            "bind-address-ipv4": start.address,
            "peer-port": start.port,
            "peer-limit-global": CONNECTIONS,
            "peer-limit-per-torrent": CONNECTIONS,
            "upload-slots-per-torrent": CONNECTIONS,
            "encryption": 0,  # prefer plain text
            "prefetch-enabled": True,
            "preallocation": 0,
            "seed-queue-enabled": False,
            "queue-stalled-enabled": False,
            "speed-limit-up-enabled": False,
            "ratio-limit-enabled": False,
            "idle-seeding-limit-enabled": False,
            "utp-enabled": False,
            "dht-enabled": False,
            "pex-enabled": False,
            "lpd-enabled": False,
            "port-forwarding-enabled": False,
            "rpc-enabled": False,
        }
        (start.session / "settings.json").write_text(json.dumps(settings))
        torrents = start.session / "torrents"
        torrents.mkdir(exist_ok=True)
        shutil.copy(start.content.torrent, torrents)
        return [program, "--foreground", "--config-dir", start.session]

    return Seeder("transmission", version_of(program, "--version"), command)


RTORRENT_RC = """\
session.path.set = "{session}"
directory.default.set = "{data}"
network.bind_address.set = {address}
network.port_range.set = {port}-{port}
network.port_random.set = no
dht.mode.set = disable
protocol.pex.set = no
protocol.encryption.set = none
trackers.use_udp.set = no
throttle.global_up.max_rate.set_kb = 0
throttle.global_down.max_rate.set_kb = 0
throttle.max_uploads.set = {connections}
throttle.max_uploads.global.set = 0
throttle.max_peers.normal.set = {connections}
throttle.max_peers.seed.set = {connections}
network.max_open_files.set = 128
network.max_open_sockets.set = {sockets}
pieces.hash.on_completion.set = no
system.daemon.set = true
schedule2 = load, 0, 0, ((load.start, "{torrent}"))
"""


def rtorrent(program: str) -> Seeder:
    """rTorrent of Debian 12. Its send buffers are left to the system: a fixed size ends the
    kernel's own tuning of them, and is capped at net.core.wmem_max."""

    def command(start: Start) -> list:
        # It takes no private torrent that names no tracker. The infohash stays the same, and at
        # that port nobody listens.
        torrent = start.session / "with-tracker.torrent"
        tracker = f"http://{start.address}:9/announce".encode()
        plain = start.content.torrent.read_bytes()
        torrent.write_bytes(b"d8:announce%d:%s" % (len(tracker), tracker) + plain[1:])
        session = start.session / "session"
        session.mkdir(exist_ok=True)
        (session / "rtorrent.lock").unlink(missing_ok=True)
        rc = start.session / "rtorrent.rc"
        rc.write_text(
            RTORRENT_RC.format(
                session=session, data=start.content.folder, address=start.address, port=start.port,
                connections=CONNECTIONS, sockets=descriptors() - 512, torrent=torrent,
            )  # fmt: skip
        )
        return [program, "-n", "-o", f"import={rc}"]

    return Seeder("rtorrent", version_of(program, "-h"), command)


def descriptors() -> int:
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], CONNECTIONS)
