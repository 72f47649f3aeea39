#!/usr/bin/env python3
"""Does what is often asked for stay in memory while a scan of cold data passes beside it?

usage: hot_set.py RINGSEED [--cache-mib N] [--reads N] [--zipf S] [--scan-every N] [--seed N]
                  [--at-once N] [--folder DIR] [--trace FILE]

A trace is drawn once and written to a file: reads of pieces of 256 KiB, most by Zipf's law from 64
files of 16 MiB, and after every so many the next piece of a scan, which comes once and never again. It is
then played twice or more, each time in a memory cgroup that leaves --cache-mib for the page cache, by:

  pread            a program that reads each piece with pread(2)
  pread, random    the same after POSIX_FADV_RANDOM, as ringseed opens its files
  ringseed         `RINGSEED seed`, asked for the pieces by peers

and each once more where a piece that was served once is dropped with POSIX_FADV_DONTNEED and kept
from the second time on. Before each read cachestat(2) tells how many of its pages are there: the hit
rate is of pages, of the second half of the trace, the scan not counted. Needs root, and the memory
controller of cgroup v1 or v2; Linux 6.5.
"""
import argparse
import bisect
import ctypes
import hashlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

PIECE = 256 * 1024
BLOCK = 16384
PAGE = 4096
FILES = 64
FILE_PIECES = 64

started = []


def draw(options, scan_pieces):
    """The trace: (kind, piece), kind being h (hot, by Zipf's law) or s (scan)."""
    rng = random.Random(options.seed)
    count = FILES * FILE_PIECES
    places = list(range(count))
    rng.shuffle(places)  # what is popular is spread over the files
    total, sums = 0.0, []
    for rank in range(1, count + 1):
        total += rank ** -options.zipf
        sums.append(total)
    trace, scanned = [], 0
    for number in range(options.reads):
        rank = bisect.bisect_left(sums, rng.random() * total)
        trace.append(("h", places[min(rank, count - 1)]))
        if number % options.scan_every == options.scan_every - 1 and scanned < scan_pieces:
            trace.append(("s", scanned))
            scanned += 1
    return trace


def write_file(path, pieces):
    with open(path, "wb") as file:
        for _ in range(pieces):
            file.write(os.urandom(PIECE))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Cachestat(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("cache", "dirty", "writeback", "evicted", "recent")]


libc = ctypes.CDLL(None, use_errno=True)


def cached_pages(descriptor, offset):
    extent = (ctypes.c_uint64 * 2)(offset, PIECE)
    told = Cachestat()
    if libc.syscall(451, descriptor, ctypes.byref(extent), ctypes.byref(told), 0) != 0:
        sys.exit(f"cachestat: {os.strerror(ctypes.get_errno())}")
    return told.cache


class Cgroup:
    FORMS = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
             ("/sys/fs/cgroup", "memory.max", "memory.current")]

    def __init__(self, name):
        for root, limit, usage in self.FORMS:
            self.folder, self.limit_file = os.path.join(root, f"{name}-{os.getpid()}"), limit
            try:
                os.mkdir(self.folder)
            except OSError:
                continue
            if os.path.exists(os.path.join(self.folder, limit)):
                return
            os.rmdir(self.folder)
        sys.exit("no memory cgroup can be made: it needs root and the memory controller")

    def limit(self, value):
        with open(os.path.join(self.folder, self.limit_file), "w") as file:
            file.write(str(value))

    def command(self, command):
        enter = f"echo $$ > {self.folder}/cgroup.procs && exec \"$@\""
        return ["setpriv", "--pdeathsig", "TERM", "--", "sh", "-c", enter, "sh", *command]

    def remove(self):
        for _ in range(200):
            try:
                return os.rmdir(self.folder)
            except OSError:
                threading.Event().wait(0.02)


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:"))


def read_bytes(pid):
    with open(f"/proc/{pid}/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("read_bytes:"))


# Reads pieces that it is told of on its standard input, one line a piece.
READER = """
import os, sys
files = {}
for line in sys.stdin:
    path, offset, length, advice = line.rstrip("\\n").rsplit("|", 3)
    if path not in files:
        files[path] = os.open(path, os.O_RDONLY)
        if advice == "random":
            os.posix_fadvise(files[path], 0, 0, os.POSIX_FADV_RANDOM)
    assert len(os.pread(files[path], int(length), int(offset))) == int(length)
    sys.stdout.write("x")
    sys.stdout.flush()
"""


class Pread:
    """Reads by a program of its own, since the page cache is charged to who brings it in."""

    def __init__(self, world, cgroup, advice):
        self.world, self.advice = world, advice
        self.process = subprocess.Popen(cgroup.command([sys.executable, "-c", READER]), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        started.append(self.process)

    def connect(self):
        return None

    def read(self, _, kind, piece):
        path, offset = self.world.place(kind, piece)
        self.process.stdin.write(f"{path}|{offset}|{PIECE}|{self.advice}\n".encode())
        self.process.stdin.flush()
        self.process.stdout.read(1)


class Ringseed:
    """Pieces from a seeder, as peers ask for them: all their blocks at once."""

    def __init__(self, world, cgroup, program):
        self.world = world
        command = [program, "seed", world.torrents, "--data", world.data, "--trust", "--json", "--state-dir",
                   os.path.join(world.folder, "state"), "--listen", "127.0.0.1:0", "--cores", "1"]
        self.process = subprocess.Popen(cgroup.command(command), stdout=subprocess.PIPE)
        started.append(self.process)
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                host, port = event["listen"][0].rsplit(":", 1)
                self.address = (host, int(port))
                self.hashes = {("h" if "dn=hot" in t["magnet"] else "s"): bytes.fromhex(t["info_hash_v1"])
                               for t in event["torrents"]}
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def connect(self):
        return {kind: self.peer(info_hash) for kind, info_hash in self.hashes.items()}

    def peer(self, info_hash):
        peer = socket.create_connection(self.address, timeout=20)
        peer.sendall(b"\x13BitTorrent protocol" + bytes(7) + b"\4" + info_hash + b"-HS0000-hotsethotset")
        file = peer.makefile("rb", buffering=1 << 20)
        file.read(68)
        peer.sendall(struct.pack(">IB", 1, 2))
        while self.frame(file)[0] != 1:
            pass
        return peer, file

    @staticmethod
    def frame(file):
        length = struct.unpack(">I", file.read(4))[0]
        return file.read(length) if length else b"\xff"

    def read(self, peers, kind, piece):
        peer, file = peers[kind]
        peer.sendall(b"".join(struct.pack(">IBIII", 13, 6, piece, begin, BLOCK) for begin in range(0, PIECE, BLOCK)))
        left = PIECE // BLOCK
        while left:
            frame = self.frame(file)
            if frame[0] == 16:
                sys.exit("ringseed rejected a request")
            left -= frame[0] == 7


class World:
    def __init__(self, folder, scan_pieces):
        self.folder, self.data, self.torrents = folder, os.path.join(folder, "data"), os.path.join(folder, "torrents")
        os.makedirs(os.path.join(self.data, "hot"))
        os.makedirs(self.torrents)
        self.paths = {"h": [os.path.join(self.data, "hot", f"{number:03}") for number in range(FILES)],
                      "s": [os.path.join(self.data, "scan")]}
        for path in self.paths["h"]:
            write_file(path, FILE_PIECES)
        write_file(self.paths["s"][0], scan_pieces)
        self.open = {path: os.open(path, os.O_RDONLY) for paths in self.paths.values() for path in paths}

    def make_torrents(self, program):
        for name in ("hot", "scan"):
            subprocess.run([program, "create", os.path.join(self.data, name), "--v1", "--piece-length", str(PIECE), "-o",
                            os.path.join(self.torrents, name + ".torrent")], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)

    def place(self, kind, piece):
        if kind == "s":
            return self.paths["s"][0], piece * PIECE
        return self.paths["h"][piece // FILE_PIECES], piece % FILE_PIECES * PIECE

    def cold(self):
        for descriptor in self.open.values():
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def play(world, player, trace, at_once, drop_once):
    """Plays the trace; returns pages asked for and found, of the hot reads of its second half."""
    lock, state, seen = threading.Lock(), {"next": 0, "asked": 0, "found": 0}, set()

    def run():
        peers = player.connect()
        while True:
            with lock:
                at = state["next"]
                state["next"] += 1
                if at >= len(trace):
                    return
                kind, piece = trace[at]
                path, offset = world.place(kind, piece)
                if kind == "h" and at >= len(trace) // 2:
                    state["asked"] += PIECE // PAGE
                    state["found"] += cached_pages(world.open[path], offset)
            player.read(peers, kind, piece)
            if drop_once:
                with lock:
                    is_first = (kind, piece) not in seen
                    seen.add((kind, piece))
                if is_first:
                    os.posix_fadvise(world.open[path], offset, PIECE, os.POSIX_FADV_DONTNEED)

    threads = [threading.Thread(target=run) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return state["asked"], state["found"]


def measure(world, options, trace, title, make, at_once, drop_once):
    world.cold()
    cgroup = Cgroup("ringseed-hot-set")
    try:
        cgroup.limit(1 << 40)
        player = make(cgroup)
        world.cold()
        pid = player.process.pid
        cgroup.limit((options.cache_mib << 20) + anonymous_bytes(pid))
        before = read_bytes(pid)
        asked, found = play(world, player, trace, at_once, drop_once)
        read = read_bytes(pid) - before
        player.process.terminate()
        player.process.wait()
    finally:
        cgroup.remove()
    name = title + (", dropped once" if drop_once else "")
    print(f"{name:34} hit rate {100 * found / asked:6.2f} %   read {read / 2**20:8.0f} MiB "
          f"for {len(trace) * PIECE / 2**20:.0f} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ringseed")
    parser.add_argument("--cache-mib", type=int, default=256, help="of page cache; the hot files are 1024 MiB")
    parser.add_argument("--reads", type=int, default=12000, help="hot pieces that are read")
    parser.add_argument("--zipf", type=float, default=1.0, help="exponent of Zipf's law")
    parser.add_argument("--scan-every", type=int, default=2, help="hot reads between two of the scan")
    parser.add_argument("--at-once", type=int, default=1, help="pieces asked for at a time")
    parser.add_argument("--only", default="", help="those whose name begins so")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="on the disk to be tried; default: the system's for temporary files")
    parser.add_argument("--trace", help="where the trace is written; default: not kept")
    options = parser.parse_args()
    scan_pieces = options.reads // options.scan_every
    trace = draw(options, scan_pieces)
    text = "".join(f"{kind} {piece}\n" for kind, piece in trace)
    if options.trace:
        with open(options.trace, "w") as file:
            file.write(text)
    print(f"trace {hashlib.sha256(text.encode()).hexdigest()[:16]}: {options.reads} hot reads, zipf {options.zipf}, "
          f"{scan_pieces} of the scan, seed {options.seed}, {options.at_once} at once; "
          f"{options.cache_mib} MiB of page cache", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="hot-set.", dir=options.folder) as folder:
            world = World(folder, scan_pieces)
            world.make_torrents(options.ringseed)
            for drop_once in (False, True):
                for title, make, at_once in (
                        ("pread", lambda cgroup: Pread(world, cgroup, "normal"), 1),
                        ("pread, random", lambda cgroup: Pread(world, cgroup, "random"), 1),
                        ("ringseed", lambda cgroup: Ringseed(world, cgroup, options.ringseed), options.at_once)):
                    if title.startswith(options.only):
                        measure(world, options, trace, title, make, at_once, drop_once)
    finally:
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
