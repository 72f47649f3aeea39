#!/usr/bin/env bash
# ns.sh CMD...: runs a command in a network namespace of its own whose loopback routes use cubic, and
# in which every address of 10.77.0.0/16 is this machine's.
#
# A system whose default congestion control is bbr reorders, paces and retransmits on loopback and
# distorts what is measured there. The route's choice holds for every program inside, so the peers
# that a seeder is compared with get the same. The private range is there since some seeders refuse
# peers at 127.0.0.0/8; any address in it can be bound without being configured. Inside,
# RINGSEED_BENCH_NET holds its first two numbers (10.77).
#
# Needs root, or unprivileged user namespaces; where neither is to be had it says so in one line and
# runs the command as things are, without RINGSEED_BENCH_NET.
set -euo pipefail

NET=10.77

usage() {
    echo "usage: ns.sh COMMAND [ARGUMENT]..." >&2
    exit 2
}

# Loopback up, each of its local routes replaced by one that names cubic, and the private range.
local_routes() {
    ip link set lo up || return
    local net
    for net in 127.0.0.0/8 127.0.0.1; do
        ip route replace local "$net" dev lo table local proto kernel scope host \
            src 127.0.0.1 congctl cubic || return
    done
    ip route replace local "$NET.0.0/16" dev lo table local proto kernel scope host congctl cubic || return
    # The kernel's own ::1 has metric 0, which iproute2 cannot name to replace: it is left out
    # where IPv6 is off.
    if ip -6 route del local ::1 dev lo table local 2>/dev/null; then
        ip -6 route add local ::1 dev lo table local proto kernel congctl cubic || return
    fi
}

# What stays possible where cubic is not to be had.
plain_routes() {
    ip link set lo up
    ip route replace local "$NET.0.0/16" dev lo table local proto kernel scope host
}

[[ $# -gt 0 ]] || usage

if [[ $1 == --inside ]]; then
    shift
    if ! local_routes; then
        echo "ns.sh: loopback routes cannot be given cubic (is tcp_cubic loaded?): the system's congestion control stays" >&2
        plain_routes
    fi
    export RINGSEED_BENCH_NET=$NET
    exec "$@"
fi

unset RINGSEED_BENCH_NET
map=()
[[ $(id -u) -eq 0 ]] || map=(--map-root-user)
if why=$(unshare --net "${map[@]}" true 2>&1); then
    exec unshare --net "${map[@]}" -- bash "${BASH_SOURCE[0]}" --inside "$@"
fi
echo "ns.sh: no network namespace to be had (${why:-unshare failed}): running in this one, with the system's congestion control" >&2
exec "$@"
