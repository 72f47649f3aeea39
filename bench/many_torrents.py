#!/usr/bin/env python3
"""Many small torrents: how soon the last one is served, what each costs in memory, what idling costs.

usage: many_torrents.py RINGSEED [COUNT [FOLDER]]

Makes COUNT torrents of 16 KiB each, runs `RINGSEED seed` over them once so that all are verified and
recorded, then starts it again and takes a block of every one of them. Prints one line a figure.
Everything lies in a folder of its own in FOLDER, and is removed in the end.
"""
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

BLOCK = 16384

started = []  # all that have been started, to be stopped whatever goes wrong


def content(number):
    return hashlib.sha256(str(number).encode()).digest() * (BLOCK // 32)


def make(folder, count):
    """The torrents and their data; returns their infohashes."""
    hashes = []
    for number in range(count):
        data = content(number)
        name = f"t{number:06}"
        info = b"d6:lengthi%de4:name%d:%s12:piece lengthi%de6:pieces20:%se" % (
            len(data), len(name), name.encode(), BLOCK, hashlib.sha1(data).digest())
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
        with open(os.path.join(folder, name + ".torrent"), "wb") as file:
            file.write(b"d4:info" + info + b"e")
        hashes.append(hashlib.sha1(info).digest())
    return hashes


def start(program, folder, state):
    command = [program, "seed", folder, "--json", "--listen", "127.0.0.1:0", "--state-dir", state]
    began = time.monotonic()
    # It ends when we do, however that happens.
    process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *command], stdout=subprocess.PIPE)
    started.append(process)
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "error":
            sys.exit(f"error: {event['message']}")
        if event["event"] == "ready":
            host, port = event["listen"][0].rsplit(":", 1)
            return process, (host, int(port)), began, event["seeding"]
    sys.exit("the seeder ended before it was ready")


def take_block(address, info_hash, expected):
    with socket.create_connection(address, timeout=10) as peer:
        handshake = b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-MT0000-manytorrents"
        request = struct.pack(">IBIII", 13, 6, 0, 0, BLOCK)
        peer.sendall(handshake + b"\0\0\0\1\2" + request)
        stream = b""
        while len(stream) < 68 + 9 + BLOCK or expected not in stream:
            more = peer.recv(65536)
            if not more:
                sys.exit(f"no block of {info_hash.hex()}: closed after {len(stream)} bytes")
            stream += more


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no Anonymous line in smaps_rollup")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stop(process):
    process.terminate()
    began = time.monotonic()
    process.stdout.read()
    process.wait(timeout=15)
    return time.monotonic() - began


def measure(program, count, folder):
    data, state = os.path.join(folder, "data"), os.path.join(folder, "state")
    os.makedirs(data)
    hashes = make(data, count)
    process, _, began, _ = start(program, data, state)
    print(f"verified at first start   {time.monotonic() - began:8.2f} s")
    stop(process)

    alone = os.path.join(folder, "alone")
    os.makedirs(alone)
    make(alone, 1)
    process, _, _, _ = start(program, alone, os.path.join(folder, "state-alone"))
    stop(process)
    process, _, _, _ = start(program, alone, os.path.join(folder, "state-alone"))
    time.sleep(1)
    base = anonymous_bytes(process.pid)
    stop(process)

    process, address, began, seeding = start(program, data, state)
    print(f"exec to ready             {time.monotonic() - began:8.2f} s   {seeding} torrents")
    time.sleep(1)
    idle = anonymous_bytes(process.pid)
    print(f"anonymous memory          {(idle - base) / (count - 1):8.0f} bytes for each idle torrent "
          f"({idle >> 20} MiB in all, {base >> 20} MiB with one)")
    spent = cpu_seconds(process.pid)
    time.sleep(10)
    spent = cpu_seconds(process.pid) - spent
    print(f"idle CPU                  {spent * 10:8.2f} % of a core, over 10 s")
    stop(process)

    process, address, began, _ = start(program, data, state)
    for number, info_hash in enumerate(hashes):
        take_block(address, info_hash, content(number))
    print(f"exec to last one served   {time.monotonic() - began:8.2f} s   "
          f"a block of each, one connection after the other")
    print(f"stop                      {stop(process):8.2f} s")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    parent = sys.argv[3] if len(sys.argv) > 3 else None
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="many-torrents-", dir=parent) as folder:
        try:
            measure(program, count, folder)
        finally:
            for process in started:
                if process.poll() is None:
                    stop(process)


if __name__ == "__main__":
    main()
