"""The data that seeders serve in benchmarks, where it lies, and its torrent."""

import os
import pathlib
import shutil
import subprocess
from dataclasses import dataclass


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


# Data and torrents are swarm.sh's as well (make_data), by the same names and rules: either makes what
# the other finds. It begins without Python, so that they are written down twice.


def data_file(folder: pathlib.Path, size: int) -> pathlib.Path:
    """Random data of this size, on the disk; made once. Under its name it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"data-{size >> 20}m.bin"
    if data.exists() and data.stat().st_size == size:
        return data
    free = shutil.disk_usage(folder).free
    if free <= size:
        raise RuntimeError(f"'{folder}' has {free >> 20} MiB left and {size >> 20} are needed: free some, or give --gib")
    part = data.with_suffix(".bin.part")
    try:
        with open(part, "wb") as out:
            for _ in range(size >> 20):
                out.write(os.urandom(1 << 20))
            out.flush()
            os.fsync(out.fileno())
        drop(part)
        part.rename(data)
    finally:
        part.unlink(missing_ok=True)
    return data


def torrent_of(program: pathlib.Path, data: pathlib.Path, piece_kib: int) -> Content:
    """The torrent that all seeders serve, made by `ringseed create`: v1, private, no tracker. Made
    again when the data is newer."""
    torrent = data.with_suffix(f".{piece_kib}k.torrent")
    if not torrent.exists() or torrent.stat().st_mtime_ns <= data.stat().st_mtime_ns:
        create(program, data, torrent, piece_kib)
    shown = subprocess.run([program, "show", torrent], check=True, capture_output=True, text=True)
    info_hash = next(word for word in shown.stdout.split() if len(word) == 40)
    return Content(
        data.parent, data.name, torrent, info_hash, piece_kib << 10, data.stat().st_size
    )


def create(program: pathlib.Path, data: pathlib.Path, torrent: pathlib.Path, piece_kib: int):
    made = subprocess.run(
        [program, "create", data, "--output", torrent, "--force", "--v1", "--private",
         "--piece-length", str(piece_kib << 10)],
        capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode != 0:
        raise RuntimeError(f"no torrent of '{data}': {made.stderr.strip()}")


def drop(data: pathlib.Path):
    """Drops the data from the page cache. Read back by the system's readahead it lies in folios as
    large as a check of the data leaves them; written in small steps it would lie in small ones,
    which cost a seeder that passes references up to a third of its speed."""
    with open(data, "rb") as content:
        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_through(data: pathlib.Path):
    """Brings the data into the page cache, from which an idle machine may have dropped a little."""
    with open(data, "rb", buffering=0) as content:
        while content.read(1 << 20):
            pass


def resident(data: pathlib.Path) -> float:
    """The share of a file that is in the page cache."""
    answer = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", data],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(answer.stdout) / data.stat().st_size
