#!/usr/bin/env bash
# profile.sh [FLAG]...: where the CPU goes while ringseed serves from the page cache, beside bare_splice, over all cores.
#
#   --load C x D      connections x outstanding [100x64]
#   --seconds N       length of the profile [4]
#   --mib N           MiB of data [2048]
#
# Prints a table a seeder: samples of perf's cpu-clock by program and by what it was doing, in percent of all that were taken while a
# program ran. Needs perf (linux-perf in Debian) and root. docs/profile.md says how to read it and what was seen.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

if [[ ${1-} == -h || ${1-} == --help ]]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
fi
if ! command -v perf >/dev/null; then
    echo "profile.sh: perf is not installed (apt-get install linux-perf)" >&2
    exit 2
fi

cd "$root"
if [[ -z ${CONDITIONS_BUILT-} ]]; then
    cargo build --quiet --release -p ringseed -p ringseed-swarm
    cargo build --quiet --release -p ringseed-ring --examples
fi
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec "$here/ns.sh" python3 "$here/conditions/profile.py" "$@" --target "$target"
