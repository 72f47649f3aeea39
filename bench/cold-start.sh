#!/usr/bin/env bash
# cold-start.sh [FLAG]...: a swarm on data that is on the disk alone.
#
# Drops the data from the page cache, shows that it is gone, starts `ringseed seed --trust` on one core
# and a hundred leechers on another, each beginning at another place and hashing every piece that it gets.
# Then tells what was read from the disk for each distinct byte sent (/proc/PID/io), and how often a
# worker waited outside the ring. Fails when a piece is wrong or either figure is out of bounds.
# Flags: peers/cold.py --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

if [[ ${1-} == -h || ${1-} == --help ]]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
fi

cd "$root"
cargo build --quiet --release -p ringseed -p ringseed-swarm
ulimit -n "$(ulimit -Hn)"
exec "$here/ns.sh" python3 "$here/peers/cold.py" --target "$target" "$@"
