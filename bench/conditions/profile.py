"""Where the CPU goes: samples of all cores by program and by what it was doing. Started by profile.sh."""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

# What seeders, data and networks are, comparisons and conditions have in common.
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from lab import Lab, cost_of  # noqa: E402
from seeders import stop_by_signals  # noqa: E402

WARM_UP_S = 1.5
RATE_HZ = 1999
SHOWN_PERCENT = 0.3

# What a sample was doing: the first of these that stands in its stack, from the outermost call on.
DOING = [
    ("softirq: the network's receiving half", r"__do_softirq|handle_softirqs|do_softirq"),
    ("splice: pipe to socket", r"splice_to_socket|do_splice_from"),
    ("splice: file to pipe", r"filemap_splice_read|splice_file_to_pipe|do_splice_read"),
    ("vmsplice: headers to pipe", r"__(?:x64|arm64|do|se)_sys_vmsplice|vmsplice_to_pipe"),
    ("splice: entering and finding the files", r"__(?:x64|arm64|do|se)_sys_splice"),
    ("cachestat", r"__(?:x64|arm64|do|se)_sys_cachestat"),
    ("io_uring_enter", r"__(?:x64|arm64|do|se)_sys_io_uring_enter"),
    ("receiving", r"__(?:x64|arm64|do|se)_sys_(?:recvfrom|recvmsg|read|readv)|sock_recvmsg|tcp_recvmsg"),
    ("epoll", r"__(?:x64|arm64|do|se)_sys_epoll_\w+"),
    ("clocks, getrusage", r"__(?:x64|arm64|do|se)_sys_(?:getrusage|clock_\w+)"),
    ("ioctl (unacknowledged bytes)", r"__(?:x64|arm64|do|se)_sys_ioctl"),
    ("madvise", r"__(?:x64|arm64|do|se)_sys_madvise"),
    ("page faults", r"asm_exc_page_fault|do_page_fault|handle_mm_fault"),
    ("interrupts", r"asm_sysvec_|asm_common_interrupt|el1_interrupt"),
]
SYSTEM_CALL = re.compile(r"entry_SYSCALL|do_syscall_64|el0_svc")


def doing(stack: list[str]) -> str:
    """`stack` begins with the innermost."""
    for what, pattern in DOING:
        if any(re.search(pattern, symbol) for symbol in stack):
            return what
    return "other system calls" if any(map(SYSTEM_CALL.search, stack)) else "its own code"


def samples(recorded: pathlib.Path):
    """(program, stack) of each sample that was not idle."""
    script = ["perf", "script", "-i", str(recorded), "-F", "comm,pid,ip,sym", "--no-inline"]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    for block in text.split("\n\n"):
        head, *frames = block.strip("\n").split("\n")
        if not head.strip() or head.startswith("swapper"):
            continue
        stack = [frame.split(None, 1)[1] for frame in frames if len(frame.split(None, 1)) > 1]
        yield head.split()[0], stack


def profile(lab: Lab, seeder, content, options, folder: pathlib.Path) -> None:
    connections, depth = options.load.split("x")
    recorded = folder / f"{seeder.name}.data"
    lab.warm(content)
    with lab.run(seeder, content) as running:
        record = ["perf", "record", "-q", "-a", "-g", "-F", str(RATE_HZ), "-e", "cpu-clock", "-o", str(recorded)]
        # It begins when the load is under way, and ends before it.
        waits = f"sleep {WARM_UP_S}; exec {' '.join(record)} -- sleep {options.seconds}"
        with subprocess.Popen(["sh", "-c", waits], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as perf:
            flood = lab.load(
                running, "flood", "--connections", connections, "--depth", depth,
                "--seconds", options.seconds + 2 * WARM_UP_S,
            )  # fmt: skip
            if perf.wait() != 0:
                raise SystemExit("profile.sh: perf could not record (root, or kernel.perf_event_paranoid, is needed)")
    cost = cost_of(flood)
    print(f"\n{seeder.name}, {options.load}: {cost['gb_per_cpu_s']:.2f} GB per CPU-second over all cores, {cost['gb_per_s']:.2f} GB/s")
    tell(recorded, {"ringseed-swarm": "the load", "swarm-": "the load"})


def tell(recorded: pathlib.Path, known: dict) -> None:
    counts = collections.Counter()
    for program, stack in samples(recorded):
        name = next((label for begin, label in known.items() if program.startswith(begin)), program)
        counts[name, doing(stack)] += 1
    whole = sum(counts.values())
    of_program = collections.Counter()
    for (program, _), count in counts.items():
        of_program[program] += count
    for program, count in of_program.most_common():
        if 100 * count / whole < SHOWN_PERCENT:
            continue
        print(f"  {100 * count / whole:5.1f} %  {program}")
        for (of, what), some in counts.most_common():
            if of == program and 100 * some / whole >= SHOWN_PERCENT:
                print(f"      {100 * some / whole:5.1f} %  {what}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="profile.sh", description=__doc__)
    parser.add_argument("--target", type=pathlib.Path, required=True, help="cargo's target folder")
    parser.add_argument("--load", default="100x64", help="connections x outstanding [100x64]")
    parser.add_argument("--seconds", type=int, default=4, help="length of the profile [4]")
    parser.add_argument("--mib", type=int, default=2048, help="MiB of data [2048]")
    options = parser.parse_args()
    stop_by_signals()
    lab = Lab(options.target)
    content = lab.data(options.mib)
    with tempfile.TemporaryDirectory() as folder:
        for seeder in (lab.ringseed(), lab.bare_splice()):
            profile(lab, seeder, content, options, pathlib.Path(folder))


if __name__ == "__main__":
    main()
