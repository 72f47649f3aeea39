#!/usr/bin/env bash
# conditions.sh CONDITION [FLAG]...: ringseed under one condition, beside what it is compared with, in one run.
#
# Each prints a line a goal and, last, one line of JSON, and ends with 1 when a goal is missed. See
# docs/benchmarking.md for what each condition measures and cannot tell, and `conditions.sh CONDITION --help`.
#
#   veth           100 x 64 through a veth pair into another namespace, beside bare_splice there
#   memory         random pieces of data four times larger than the memory it may use, beside fio; turn times
#   amplification  bytes read from the disk for each byte sent: pieces of 1 MiB, and files of 60 KiB
#   slow-device    one torrent on a FUSE mount whose reads take 200 ms, another beside it
#   stalled        6,000 peers that do not read: TCP's memory, and fast peers beside them
#   idle           10,000 connections that say nothing: memory of each
#   soak           everything for some minutes: memory that does not come back
#   tracker-soak   the tracker while peers come, leave and fall silent: memory that does not come back
#   epoll          without io_uring, beside with it
#   open-loop      latency at half of its own peak, beside bare_splice at the same rate; and beside slow readers
#   two-workers    two workers on two cores, leechers on both, beside two of bare_splice
#
# `memory` and `soak` need root and a memory cgroup (v1 or v2), `memory` needs fio, `slow-device` /dev/fuse.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
fi

cd "$root"
if [[ -z ${CONDITIONS_BUILT-} ]]; then
    cargo build --quiet --release -p ringseed -p ringseed-swarm -p ringseed-tracker -p ringseed-faultfs
    cargo build --quiet --release -p ringseed-ring --examples
fi
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
# Other namespaces than the first do not show it.
TCP_MEM=$(cat /proc/sys/net/ipv4/tcp_mem)
export TCP_MEM
exec "$here/ns.sh" python3 "$here/conditions/main.py" "$@" --target "$target"
