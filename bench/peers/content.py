"""The data that seeders serve in benchmarks, and where it lies."""

import os
import pathlib
import subprocess


def data_file(folder: pathlib.Path, size: int) -> pathlib.Path:
    """Random data of this size, on the disk; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"data-{size >> 20}m.bin"
    if not data.exists() or data.stat().st_size != size:
        with open(data, "wb") as out:
            for _ in range(size >> 20):
                out.write(os.urandom(1 << 20))
            out.flush()
            os.fsync(out.fileno())
    return data


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
