#!/usr/bin/env bash
# swarm.sh [PROFILE] [OPTION]...: one command that puts load on a seeder and leaves a report.
#
# Builds (release), makes random data and its torrent under target/bench-data once, enters a network
# namespace with cubic (or says that it could not, and goes on), starts a tracker and a seeder on one
# core, and on another `ringseed-swarm run` with the phases of a profile. It stops what it started, and
# prints the path of the report last: reports/DATE/PROFILE-TIME/ with report.html, result.json,
# latency.hlog, *.hgrm, seeder.log and tracker.log.
#
# PROFILE
#   quick            all modes, in under 90 s after the build, on 1 GiB of data (default)
#   full             all modes for long enough that figures repeat, on 2 GiB
#   soak [HOURS]     again and again for so long (default 1, fractions allowed); a leak is a failure
#   FILE.toml        a scenario of yours (docs/scenarios.md)
#
# OPTIONS
#   --out DIR        the report's folder
#   --netns N        leechers in N network namespaces of their own, with veth pairs to the seeder's
#   --mib N          MiB of data [1024 for quick, else 2048]
#   --programs DIR   take ringseed, ringseed-swarm and ringseed-tracker from there, build nothing
#   --target ADDR:PORT --torrent FILE [--pid PID]
#                    a seeder that runs already: nothing is started but a tracker, no namespace is entered
#   --seeder COMMAND...
#                    this one in ringseed's place; last of all options. In its words {address}, {port},
#                    {listen} (both), {torrent}, {file}, {folder} (which the file is in) and {session} (an
#                    empty folder) are replaced. It serves when it unchokes a leecher
#
# Exit code: 0 the run passed; 1 it failed (wrong bytes, a failed check, a leak); 2 there is no result.
set -euo pipefail

START_S=300 # a seeder may have to hash all of the data first
STOP_S=15
PORTS_MIN=1024 # so many to pick from make it unlikely that another program picks the same
PORT_TRIES=100
NETNS_MAX=250 # a third number of addresses each
FILES_WANTED=16384 # 10,000 connections, and what a program needs besides

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
target_dir=${CARGO_TARGET_DIR:-$root/target}

say() { echo "swarm.sh: $*" >&2; }

fail() {
    say "$*"
    exit 2
}

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

# is_whole TEXT FROM TO
is_whole() { [[ $1 =~ ^[0-9]{1,9}$ ]] && ((10#$1 >= $2 && 10#$1 <= $3)); }

needs_value() { [[ $2 -gt 1 ]] || fail "$1: a value is needed; see --help"; }

profile=quick out='' netns=0 mib='' programs='' target='' torrent='' pid='' run_for='' seeder=()

parse() {
    if [[ $# -gt 0 && $1 != -* ]]; then
        profile=$1
        shift
    fi
    if [[ $profile == soak ]]; then
        local hours=1
        if [[ $# -gt 0 && $1 != -* ]]; then
            hours=$1
            shift
        fi
        run_for=$(seconds_of "$hours")
    fi
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help) usage && exit 0 ;;
            --out) needs_value "$1" $# && out=$2 ;;
            --netns) needs_value "$1" $# && netns=$2 ;;
            --mib) needs_value "$1" $# && mib=$2 ;;
            --programs) needs_value "$1" $# && programs=$2 ;;
            --target) needs_value "$1" $# && target=$2 ;;
            --torrent) needs_value "$1" $# && torrent=$2 ;;
            --pid) needs_value "$1" $# && pid=$2 ;;
            --seeder)
                shift
                [[ $# -gt 0 ]] || fail "--seeder: a command is needed; see --help"
                seeder=("$@")
                return
                ;;
            *) fail "'$1' is no option; see --help" ;;
        esac
        shift 2
    done
}

# Hours, fractions allowed, as ringseed-swarm's --for takes a time.
seconds_of() {
    [[ $1 =~ ^[0-9]{1,6}(\.[0-9]{1,6})?$ ]] || fail "soak '$1': hours are needed, such as 8 or 0.5"
    local seconds
    seconds=$(awk -v hours="$1" 'BEGIN { printf "%d", hours * 3600 }')
    ((seconds > 0)) || fail "soak '$1': less than a second; give more hours"
    echo "${seconds}s"
}

check() {
    case $profile in
        quick | full | soak) scenario=$here/profiles/$profile.toml ;;
        *) scenario=$profile ;;
    esac
    [[ -r $scenario ]] || fail "'$profile' is no profile (quick, full, soak), and no file that can be read"
    [[ -n $mib ]] || mib=$([[ $profile == quick ]] && echo 1024 || echo 2048)
    is_whole "$mib" 1 1048576 || fail "--mib '$mib': 1 to 1048576 MiB"
    is_whole "$netns" 0 $NETNS_MAX || fail "--netns '$netns': 0 to $NETNS_MAX namespaces"
    mib=$((10#$mib)) netns=$((10#$netns))
    if [[ -n $target ]]; then
        [[ -n $torrent ]] || fail "--target $target: which torrent? Give --torrent"
        [[ ${#seeder[@]} -eq 0 ]] || fail "--target and --seeder: give one of them"
        ((netns == 0)) || fail "--netns $netns: a seeder that runs already cannot be reached from there; start it by --seeder"
        [[ -r $torrent ]] || fail "--torrent '$torrent': it cannot be read"
    else
        [[ -z $torrent ]] || fail "--torrent is for --target; otherwise data is made"
        [[ -z $pid ]] || fail "--pid is for --target; otherwise the seeder is started here"
    fi
    local tool
    for tool in ip unshare nsenter taskset setpriv setsid awk; do
        command -v $tool >/dev/null || fail "'$tool' is missing (Debian: iproute2, util-linux, mawk)"
    done
}

# Before the namespace: cargo may need the network.
prepare() {
    if [[ -z $programs ]]; then
        programs=$target_dir/release
        (cd "$root" && cargo build --quiet --release -p ringseed -p ringseed-swarm -p ringseed-tracker)
    fi
    local program
    for program in ringseed ringseed-swarm ringseed-tracker; do
        [[ -x $programs/$program ]] || fail "--programs '$programs': there is no $program"
    done
    [[ -n $target ]] || make_data
    [[ -n $out ]] || out=$root/reports/$(date -u +%Y-%m-%d)/$(basename "$profile" .toml)-$(date -u +%H%M%S)
    mkdir -p "$out"
}

make_data() {
    local folder=$target_dir/bench-data
    data=$folder/data-${mib}m.bin
    torrent=${data%.bin}.1024k.torrent
    mkdir -p "$folder"
    if [[ $(stat --format %s "$data" 2>/dev/null) != $((mib << 20)) ]]; then
        local free
        free=$(df --output=avail -m "$folder" | tail -n 1)
        ((free > mib)) || fail "'$folder' has $free MiB left and $mib are needed: free some, or give --mib"
        say "making $mib MiB of random data"
        head -c "${mib}M" /dev/urandom >"$data.part"
        sync "$data.part"
        # Out of the page cache: read back by the hash below it lies in large folios, as it does
        # after a check of any data; as written it would lie in small ones.
        dd if="$data.part" iflag=nocache count=0 status=none
        mv "$data.part" "$data"
    fi
    if [[ ! $torrent -nt $data ]]; then
        "$programs/ringseed" create "$data" --output "$torrent" --force --v1 --private \
            --piece-length 1048576 >/dev/null 2>"$torrent.log" || fail "no torrent: $(tail -n 1 "$torrent.log")"
        rm -f "$torrent.log"
    fi
}

# list_of LIST: the numbers of 0-3,8, a line each.
list_of() {
    local part
    for part in ${1//,/ }; do seq "${part%-*}" "${part#*-}"; done
}

# Cores that we may use, first the seeder's, then the swarm's.
choose_cores() {
    local cores=() apart
    mapfile -t cores < <(list_of "$(taskset --cpu-list --pid $$ | sed 's/.*: //')")
    if [[ ${#cores[@]} -gt 1 ]]; then
        apart_from "${cores[@]}"
        on_seeder_core=(taskset --cpu-list "${cores[0]}")
        on_swarm_core=(taskset --cpu-list "$apart")
        swarm_core=(--core "$apart")
    else
        on_seeder_core=() on_swarm_core=() swarm_core=()
        say "one core only: seeder and swarm share it, and disturb each other more than seeders differ"
    fi
}

# apart_from CORE OTHER...: the first OTHER that is no thread of the same hardware core as CORE, in
# $apart. Where there is none, or the system does not tell, that is said.
apart_from() {
    local core=$1 other siblings
    shift
    apart=$1
    if ! siblings=$(cat "/sys/devices/system/cpu/cpu$core/topology/thread_siblings_list" 2>/dev/null); then
        say "it is not known whether cores $core and $apart are threads of one"
        return
    fi
    siblings=,$(list_of "$siblings" | tr '\n' ',')
    for other; do
        [[ $siblings != *,$other,* ]] || continue
        apart=$other
        return
    done
    say "cores $core and $apart are threads of one: seeder and swarm slow each other down"
}

raise_limits() {
    ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    (($(ulimit -n) >= FILES_WANTED)) ||
        say "$(ulimit -n) open files at most: phases with 10,000 connections will fail; raise the limit (ulimit -Hn, LimitNOFILE=)"
}

# A cgroup for the seeder alone: the report then tells what the system keeps for it beside the page cache
# (sockets, pipes). Where none can be made that figure is left out.
make_cgroup() {
    local parent
    for parent in /sys/fs/cgroup /sys/fs/cgroup/memory; do
        [[ -w $parent ]] || continue
        grep -qw memory "$parent/cgroup.subtree_control" 2>/dev/null ||
            [[ -e $parent/memory.usage_in_bytes ]] || continue
        mkdir "$parent/ringseed-swarm-$$" 2>/dev/null || continue
        cgroup=$parent/ringseed-swarm-$$
        # shellcheck disable=SC2016 # expanded by that shell, which becomes the seeder
        in_cgroup=(bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$cgroup")
        return
    done
}

cgroup='' in_cgroup=()
started=() # pids, in the order in which they were started

# start LOG COMMAND...: in a session of its own, so that Ctrl-C reaches it through us alone; it ends
# when we do, however that happens. Its pid is in $!.
start() {
    local log=$1
    shift
    setsid setpriv --pdeathsig TERM -- "$@" </dev/null >"$log" 2>&1 &
    started+=($!)
}

# stop PID: asks, waits, insists.
stop() {
    kill -TERM "$1" 2>/dev/null || return 0
    local tenths
    for ((tenths = 0; tenths < STOP_S * 10; tenths++)); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

stop_all() {
    local at link
    for ((at = ${#started[@]} - 1; at >= 0; at--)); do stop "${started[at]}"; done
    started=()
    # A veth pair goes with the namespace of its far end; this is for the case that it was not moved.
    for link in /sys/class/net/"rs$$a"*; do
        [[ ! -e $link ]] || ip link delete "${link##*/}" 2>/dev/null || true
    done
    [[ -z $cgroup ]] || rmdir "$cgroup" 2>/dev/null || true
    [[ -z ${scratch-} ]] || rm -rf "$scratch"
    # A line for each piece says nothing that the report needs.
    [[ ! -s $out/seeder.log ]] || sed -i '/"event":"hashing"/d' "$out/seeder.log"
}

# wait_for WHAT PID LOG COMMAND...: until the command succeeds.
wait_for() {
    local what=$1 process=$2 log=$3 deadline=$((SECONDS + START_S))
    shift 3
    until "$@"; do
        kill -0 "$process" 2>/dev/null || fail "$what ended at its start: $(tail -n 3 "$log" 2>&1)"
        ((SECONDS < deadline)) || fail "$what did not serve within $START_S s: $(tail -n 3 "$log" 2>&1)"
        sleep 0.1
    done
}

start_tracker() {
    start "$out/tracker.log" "${on_seeder_core[@]}" "$programs/ringseed-tracker" --http "$address:0" --udp "$address:0"
    wait_for "the tracker" "$!" "$out/tracker.log" grep -qs announce "$out/tracker.log"
    http=$(grep -o 'http://[^ ]*' "$out/tracker.log" | head -n 1)
    udp=$(sed -n 's|.*udp://\([^/]*\)/.*|\1|p' "$out/tracker.log" | head -n 1)
}

start_ringseed() {
    start "$out/seeder.log" "${in_cgroup[@]}" "${on_seeder_core[@]}" "$programs/ringseed" seed "$torrent" --data "$(dirname "$data")" \
        --listen "$address:0" --cores 1 --slots 0 --connections-per-address 0 --tracker "$http" \
        --state-dir "$scratch/state" --json
    pid=$!
    wait_for "the seeder" "$pid" "$out/seeder.log" grep -qs '"event":"ready"' "$out/seeder.log"
    target=$(sed -n '/"event":"ready"/s/.*"listen":\["\([^"]*\)".*/\1/p' "$out/seeder.log")
}

unchokes() {
    "$programs/ringseed-swarm" flood "$target" --torrent "$torrent" "${from[@]}" --connections 1 --depth 1 \
        --warm-up 0 --seconds 0.1 --opening 30 --quiet >"$scratch/probe" 2>&1
}

# A port at which nobody listens, in $port. Outside of the range from which the kernel takes those of
# outgoing connections, if there is room: one of these could have it before the seeder does.
free_port() {
    local low high from=1024 to=65535 tries
    read -r low high </proc/sys/net/ipv4/ip_local_port_range
    if ((low - from >= PORTS_MIN)); then
        to=$((low - 1))
    elif ((to - high >= PORTS_MIN)); then
        from=$((high + 1))
    fi
    for ((tries = 0; tries < PORT_TRIES; tries++)); do
        port=$((from + (RANDOM << 15 | RANDOM) % (to - from + 1)))
        grep -qs "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$port") " /proc/net/tcp /proc/net/tcp6 || return 0
    done
    fail "no free port was found among $from to $to in $PORT_TRIES tries"
}

start_other() {
    local words=() word port
    free_port
    target=$address:$port
    mkdir -p "$scratch/session"
    for word in "${seeder[@]}"; do
        word=${word//\{address\}/$address}
        word=${word//\{port\}/$port}
        word=${word//\{listen\}/$target}
        word=${word//\{torrent\}/$torrent}
        word=${word//\{file\}/$data}
        word=${word//\{folder\}/$(dirname "$data")}
        words+=("${word//\{session\}/$scratch/session}")
    done
    start "$out/seeder.log" "${in_cgroup[@]}" "${on_seeder_core[@]}" "${words[@]}"
    pid=$!
    wait_for "${seeder[0]}" "$pid" "$out/seeder.log" unchokes
}

# make_namespace NUMBER: a namespace that lasts as long as a process of ours in it, and a veth pair.
make_namespace() {
    local near=rs$$a$1 far=rs$$b$1 ours=10.78.$1.1 theirs=10.78.$1.2 ns
    start "$scratch/netns-$1.log" unshare --net -- sleep infinity
    ns=/proc/$!/ns/net
    wait_for "namespace $1" "$!" "$scratch/netns-$1.log" differs "$ns"
    ip link add "$near" type veth peer name "$far" netns "$!" &&
        ip address add "$ours/30" dev "$near" &&
        ip link set "$near" up &&
        ip route replace "10.78.$1.0/30" dev "$near" src "$ours" congctl cubic &&
        nsenter --net="$ns" ip link set lo up &&
        nsenter --net="$ns" ip address add "$theirs/30" dev "$far" &&
        nsenter --net="$ns" ip link set "$far" up &&
        nsenter --net="$ns" ip route add "$RINGSEED_BENCH_NET.0.0/16" via "$ours" congctl cubic &&
        namespaces+=("$ns")
}

differs() { [[ $(readlink "$1") != "$(readlink /proc/self/ns/net)" ]]; }

make_namespaces() {
    namespaces=()
    ((netns > 0)) || return 0
    [[ -n ${RINGSEED_BENCH_NET-} ]] || fail "--netns $netns: no network namespace to be had here (root or user namespaces are needed)"
    local number
    for ((number = 1; number <= netns; number++)); do
        make_namespace "$number" || fail "--netns $netns: namespace $number cannot be made"
    done
    # Leechers of a namespace share its address.
    from=(--netns "$(IFS=, && echo "${namespaces[*]}")")
}

# Where the seeder listens and leechers come from.
choose_addresses() {
    if [[ -n $target ]]; then
        address=127.0.0.1 from=()
        [[ $target != 127.* ]] || from=(--from 127.0.1.1..)
    elif [[ -n ${RINGSEED_BENCH_NET-} ]]; then
        address=$RINGSEED_BENCH_NET.0.1 from=(--from "$RINGSEED_BENCH_NET.1.1..")
    else
        address=127.0.0.1 from=(--from 127.0.1.1..)
    fi
}

interrupt() {
    interrupted=yes
    [[ -n ${swarm-} ]] || exit 2
    kill -INT "$swarm" 2>/dev/null || true
}

# Runs the profile; the first signal ends it early with a report, the second at once.
run_profile() {
    local words=("$programs/ringseed-swarm" run "$scenario" "$target" --torrent "$torrent"
        --http "$http" --udp "$udp" "${from[@]}" "${swarm_core[@]}" --out "$out")
    [[ -z $pid ]] || words+=(--pid "$pid")
    [[ -z $run_for ]] || words+=(--for "$run_for")
    setsid setpriv --pdeathsig INT -- "${on_swarm_core[@]}" "${words[@]}" </dev/null &
    swarm=$!
    code=0
    while :; do
        interrupted=''
        wait "$swarm" && code=0 || code=$?
        [[ -n $interrupted ]] || break
    done
}

inside() {
    scratch=$(mktemp -d -t ringseed-swarm.XXXXXX)
    trap stop_all EXIT
    trap interrupt INT TERM HUP
    raise_limits
    choose_cores
    choose_addresses
    make_namespaces
    make_cgroup
    start_tracker
    if [[ ${#seeder[@]} -gt 0 ]]; then
        start_other
    elif [[ -z $target ]]; then
        start_ringseed
    fi
    run_profile
    stop_all
    if [[ -f $out/report.html ]]; then echo "$out/report.html"; else say "no report was left in $out"; fi
    exit "$code"
}

parse "$@"
if [[ -n ${RINGSEED_SWARM_INSIDE-} ]]; then
    # Settled before the namespace was entered, handed over by the environment.
    check
    mapfile -t handed <<<"$RINGSEED_SWARM_INSIDE"
    programs=${handed[0]} out=${handed[1]} data=${handed[2]} torrent=${handed[3]}
    inside
fi
check
data=
prepare
export RINGSEED_SWARM_INSIDE=$programs$'\n'$out$'\n'$data$'\n'$torrent
if [[ -n $target ]]; then
    say "the seeder at $target is loaded from where you are, with the congestion control that is in use here"
    exec bash "${BASH_SOURCE[0]}" "$@"
fi
exec "$here/ns.sh" bash "${BASH_SOURCE[0]}" "$@"
