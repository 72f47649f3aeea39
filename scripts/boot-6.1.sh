#!/usr/bin/env bash
# Boots Debian 12's kernel (Linux 6.1) in QEMU and lets ringseed seed there to a client that verifies.
#
#   scripts/boot-6.1.sh [PROGRAM]      default: target/debug/ringseed
#
# The guest has a disk with an ext4 filesystem, no network but its loopback, and two cores. aria2
# downloads from the page cache and, after the caches were dropped, from the disk: by reference, by
# copies, and without the ring. Each copy is compared; what the seeder says of the kernel and what its
# cgroup holds are printed. Exit code 0: all copies are right, the ring is in use, the sandbox is on.
#
# Needs root for apt-get only where qemu-system-x86, busybox-static, aria2, kmod, cpio or e2fsprogs
# are missing. Uses KVM where it works and emulates elsewhere (a few minutes).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PACKAGE=linux-image-amd64
BYTES=$((48 << 20))
PATIENCE_KVM=30
PATIENCE_TCG=900

program=${1:-${CARGO_TARGET_DIR:-target}/debug/ringseed}
[ -x "$program" ] || { echo "boot-6.1.sh: no program '$program': cargo build first" >&2; exit 2; }

say() { printf '== %s\n' "$*"; }

missing=()
for pair in qemu-system-x86_64=qemu-system-x86 busybox=busybox-static aria2c=aria2 depmod=kmod \
    cpio=cpio mke2fs=e2fsprogs; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
done
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends "${missing[@]}"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root

# The kernel, unpacked and not installed.
image=$(apt-cache depends "$PACKAGE" | awk '/Depends: linux-image-/ { print $2; exit }')
say "downloading $image"
(cd "$folder" && apt-get download -qq "$image" 2>/dev/null && dpkg-deb -x "$image"_*.deb kernel)
release=$(basename "$folder"/kernel/lib/modules/*)
depmod -b "$folder/kernel" "$release"

# The root: busybox, the two programs with their libraries, modules of the disk.
mkdir -p "$root"/{bin,dev,proc,sys,tmp,data,etc,usr/sbin}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$program" "$root/bin/ringseed"
cp "$(command -v aria2c)" "$root/bin/aria2c"
ldd "$program" "$(command -v aria2c)" | grep -o '/[^ )]*' | grep '\.so' | sort -u |
    while read -r library; do install -D "$(readlink -f "$library")" "$root$library"; done
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
printf 'root:x:0:0::/tmp:/bin/sh\n' >"$root/etc/passwd"
modules=()
for module in virtio_pci virtio_blk crc32c_generic ext4; do
    while read -r _ path; do
        [[ " ${modules[*]} " == *" $path "* ]] || modules+=("$path")
    done < <(modprobe -d "$folder/kernel" -S "$release" --show-depends "$module" | grep ^insmod)
done
for path in "${modules[@]}"; do install -D "$path" "$root/modules/$(basename "$path")"; done
for path in "${modules[@]}"; do basename "$path"; done >"$root/modules/order"

# The disk, with the data on it.
mkdir "$folder/files"
head -c "$BYTES" /dev/urandom >"$folder/files/film.bin"
sum=$(sha256sum "$folder/files/film.bin" | cut -d' ' -f1)
mke2fs -q -F -t ext4 -d "$folder/files" "$folder/disk" $((BYTES / 1024 * 2))k
echo "$sum" >"$root/etc/sum"

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp && mount -t cgroup2 cgroup /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/seeder
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t ext4 /dev/vda /data
ip link set lo up
echo "guest: Linux $(uname -r), $(nproc) cores"
want=$(cat /etc/sum)
failed=no

# Hundredths of a second since the boot.
now() { cut -d' ' -f1 /proc/uptime | tr -d .; }

# download NAME SEEDER-OPTIONS... : seeds, downloads twice, compares.
download() {
    name=$1; shift
    sh -c 'echo 0 >/sys/fs/cgroup/seeder/cgroup.procs; exec ringseed seed "$@"' seed \
        /data/film.bin --listen 127.0.0.1:6881 --tracker-listen 127.0.0.1:6969 \
        --announce-host 127.0.0.1 --state-dir /tmp/state "$@" >/tmp/said 2>&1 &
    seeder=$!
    for _ in $(seq 600); do grep -q '^seeding 1' /tmp/said && break; sleep 0.2; done
    sed 's/^/seeder: /' /tmp/said
    filtered=$(grep -l '^Seccomp:.2' /proc/$seeder/task/*/status | wc -l)
    echo "guest: $name: $filtered of $(ls /proc/$seeder/task | wc -l) threads are in the sandbox"
    for state in cached cold; do
        [ $state = cached ] || { sync; echo 3 >/proc/sys/vm/drop_caches; }
        rm -rf /tmp/got; mkdir /tmp/got
        began=$(now)
        aria2c --quiet --dir=/tmp/got --seed-time=0 --enable-dht=false --listen-port=7000 \
            --bt-max-peers=4 --check-integrity=true --file-allocation=none \
            /tmp/state/torrents/*.torrent
        took=$(($(now) - began))
        got=$(sha256sum /tmp/got/film.bin | cut -d' ' -f1)
        if [ "$got" = "$want" ]; then verdict=right; else verdict=WRONG; failed=yes; fi
        echo "guest: $name, $state: copy $got is $verdict, ${took}0 ms"
    done
    echo "guest: $name: of the page cache $(grep '^file ' /sys/fs/cgroup/seeder/memory.stat |
        cut -d' ' -f2) bytes, in all $(cat /sys/fs/cgroup/seeder/memory.current)"
    kill $seeder; wait $seeder; code=$?
    [ $code = 0 ] || { echo "guest: $name ended with $code"; tail -n 5 /tmp/said; failed=yes; }
}

download auto
cp /tmp/said /tmp/said.auto
download copy --zero-copy off
download epoll --kernel epoll
grep -q 'in use: io_uring: Linux 6.1 ' /tmp/said.auto || { echo "guest: no ring in use"; failed=yes; }
grep -q 'no cachestat' /tmp/said.auto || { echo "guest: cachestat on 6.1?"; failed=yes; }
grep -q 'sandbox: [0-9]' /tmp/said.auto || { echo "guest: no sandbox"; failed=yes; }
dmesg | grep -E 'type=1326|BUG|WARNING|Oops' | sed 's/^/guest: kernel: /'
echo "guest: failed=$failed"
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1 >"$folder/initrd")

# boot ACCELERATOR SECONDS
boot() {
    timeout --kill-after=5 "$2" qemu-system-x86_64 -accel "$1" -cpu max -smp 2 -m 1024 -nodefaults \
        -display none -nic none -serial stdio -no-reboot \
        -kernel "$folder/kernel/boot/vmlinuz-$release" -initrd "$folder/initrd" \
        -append "console=ttyS0 quiet panic=-1" \
        -drive "file=$folder/disk,format=raw,if=virtio,cache=none" </dev/null 2>&1 |
        tr -d '\r' | tee "$folder/log" | grep -a --line-buffered -E '^(guest|seeder): '
}
# Where this machine is a guest itself, one more may be refused KVM or stand still in it.
say "booting $release with KVM"
boot kvm "$PATIENCE_KVM" || true
if ! grep -aq '^guest: failed=' "$folder/log"; then
    say "no end with KVM within $PATIENCE_KVM s; emulating"
    boot tcg "$PATIENCE_TCG" || true
fi
grep -aq '^guest: failed=no' "$folder/log" || {
    say "failed; the last lines of the guest:"
    tail -n 20 "$folder/log"
    exit 1
}
say "Linux ${release%%-*} seeds: all copies are right"
