"""Conditions of the disk: little memory, and how much is read for what is sent."""

import json
import pathlib
import subprocess

from content import Content, create, resident
from lab import (
    ENDS_WITH_US, Goal, Lab, Outcome, between, cost_of, counters, drop, limit_memory, load_of, memory_cgroup,
    os, read_from_disk, require_cold,
)  # fmt: skip
from seeders import ENTER_CGROUP

SHARE = 4  # the data is so many times larger than the memory
FIO_BLOCK_KIB, FIO_DEPTH = 256, 64  # a batch of 16 blocks, and what the seeder has in flight: 16 MiB


def memory(lab: Lab, options) -> Outcome:
    content, remarks = lab.data(options.mib), []
    limit = content.total_bytes // SHARE
    ours, fios = [], []
    for _ in range(options.repetitions):
        require_cold(content, remarks)
        ours.append(in_little_memory(lab, content, limit, options.seconds))
        fios.append(
            {
                "direct_mb_per_s": fio(lab, content, limit, options.seconds, direct=True),
                "buffered_mb_per_s": fio(lab, content, limit, options.seconds, direct=False),
            }
        )
    middle = {name: sorted(run[name] for run in runs)[len(runs) // 2] for runs in (ours, fios) for name in runs[0] if name.endswith("per_s")}
    turns = max((run["turn_us"] for run in ours), key=lambda turn: turn["max"])
    worst = max(run["turn_us"]["p9999"] for run in ours)
    goals = [
        Goal(
            "MB/s sent, by fio's through the page cache in the same memory",
            middle["sent_mb_per_s"] / middle["buffered_mb_per_s"], 0.9, "of it", at_least=True,
        ),
        Goal(
            "MB/s read from the disk, by fio's with O_DIRECT",
            middle["disk_mb_per_s"] / middle["direct_mb_per_s"], 0.9, "of it", at_least=True,
        ),
        Goal("longest turn", turns["max"] / 1000, 5, "ms"),
        Goal("p99.99 of turns", worst / 1000, 2, "ms"),
    ]  # fmt: skip
    return Outcome(goals, {"limit_bytes": limit, "median": middle, "ours": ours, "fio": fios}, remarks)


def in_little_memory(lab: Lab, content: Content, limit: int, seconds: int) -> dict:
    running = lab.run(lab.ringseed(), content)
    if not running.cgroup:
        memory_cgroup()
    limit_memory(running.cgroup, limit)
    with running:
        before, read_before = counters(running), read_from_disk(running.pid)
        flood = lab.load(
            running, "flood", "--connections", 100, "--depth", 64, "--order", "random",
            "--warm-up", 2, "--seconds", seconds,
        )  # fmt: skip
        after, read = counters(running), read_from_disk(running.pid) - read_before
    happened = between(before, after)
    # Both over the same time: warm-up and what came after the counted time are in both.
    of_bytes = cost_of(flood)["gb_per_s"] * 1000
    return {
        "sent_mb_per_s": of_bytes,
        "disk_mb_per_s": of_bytes * read / max(happened["block_bytes"], 1),
        "read_per_sent": read / max(happened["block_bytes"], 1),
        "resident_share": happened["runs_resident"] / max(happened["runs_asked"], 1),
        "bytes_a_fetch": read / max(happened["fetches"], 1),
        "fetch_us": happened["fetch_us"],
        "turn_us": happened["turn_us"],
        "waits_outside_ring": happened["voluntary_switches"],
        "preempted_turns": happened["preempted_turns"],
        "io_worker_threads": after["io_worker_threads"],
        "cost": {name: cost_of(flood)[name] for name in ("gb_per_cpu_s", "gb_per_target_cpu_s")},
    }


def fio(lab: Lab, content: Content, limit: int, seconds: int, direct: bool) -> float:
    """Megabytes a second of random reads, on the seeder's core."""
    drop(content.path)
    cgroup = memory_cgroup()
    try:
        limit_memory(cgroup, limit)
        done = subprocess.run(
            [
                *ENDS_WITH_US, *ENTER_CGROUP, str(cgroup), "taskset", "--cpu-list", str(lab.cores.seeder), "fio",
                "--name=pieces", f"--filename={content.path}", "--readonly", "--rw=randread", f"--bs={FIO_BLOCK_KIB}k",
                f"--iodepth={FIO_DEPTH}", "--ioengine=io_uring", f"--direct={int(direct)}", "--norandommap",
                "--time_based", f"--runtime={seconds}", "--ramp_time=2", "--output-format=json",
            ],
            check=True, capture_output=True, text=True, cwd="/",
        )  # fmt: skip
    except FileNotFoundError:
        raise SystemExit("conditions.sh: fio is needed (Debian: fio)") from None
    finally:
        cgroup.rmdir()
    return json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]["read"]["bw_bytes"] / 1e6


FILES, FILE_BYTES = 16384, 60 << 10


def amplification(lab: Lab, options) -> Outcome:
    pieces = read_once(lab, lab.data(1000), options.seconds)
    files = read_once(lab, many_files(lab), options.seconds)
    goals = [
        Goal("bytes read for each byte sent, pieces of 1 MiB", pieces["read_per_sent"], 1.1),
        Goal(f"bytes read for each byte sent, {FILES} files of {FILE_BYTES >> 10} KiB", files["read_per_sent"], 1.3),
    ]
    remarks = [f"{name}: {run['remark']}" for name, run in (("pieces", pieces), ("files", files)) if run["remark"]]
    return Outcome(goals, {"pieces": pieces, "files": files}, remarks)


def read_once(lab: Lab, content: Content, seconds: int) -> dict:
    """A hundred leechers that share all pieces among them, each hashing what it gets."""
    cold(content)
    with lab.run(lab.ringseed(), content) as running:
        read_before = read_from_disk(running.pid)
        verify = lab.load(
            running, "verify", "--connections", 100, "--depth", 64, "--order", "shared",
            "--warm-up", 0, "--seconds", seconds,
        )  # fmt: skip
        read, counted = read_from_disk(running.pid) - read_before, counters(running)
    counts = load_of(verify)["counts"]
    sent_once = counts["distinct_bytes"]
    short = content.total_bytes - sent_once
    return {
        "read_bytes": read,
        "sent_once_bytes": sent_once,
        "read_per_sent": read / max(sent_once, 1),
        "fetches": counted["fetches"],
        "waits_outside_ring": counted["voluntary_switches"],
        "remark": f"void: {short} bytes were never sent, and part of them was read: more --seconds" if short else None,
    }


def cold(content: Content) -> None:
    files = [content.path] if content.path.is_file() else [*content.path.iterdir()]
    for file in files:
        drop(file)
    if content.path.is_file() and resident(content.path) > 0.001:
        raise RuntimeError(f"'{content.path}' stays in the page cache")


def many_files(lab: Lab) -> Content:
    folder = lab.target / "bench-data" / f"files-{FILES}x{FILE_BYTES >> 10}k"
    torrent = folder.with_suffix(".torrent")
    if not torrent.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(FILES):
            with open(folder / f"{number:05}", "wb") as file:
                file.write(os.urandom(FILE_BYTES))
                file.flush()
        os.sync()
        create(lab.release / "ringseed", folder, torrent, 1024)
    shown = subprocess.run([lab.release / "ringseed", "show", torrent], check=True, capture_output=True, text=True)
    info_hash = next(word for word in shown.stdout.split() if len(word) == 40)
    return Content(pathlib.Path(folder).parent, folder.name, torrent, info_hash, 1 << 20, FILES * FILE_BYTES)
