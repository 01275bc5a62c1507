#!/bin/sh
# Installs what building and testing need and the machine lacks: libpcap's headers, pkg-config, a C compiler,
# make. Where it may not install, it prints the exact command and stops.
set -eu
need=""
have() { command -v "$1" >/dev/null 2>&1; }
have cc || need="$need gcc libc6-dev"
have pkg-config || need="$need pkg-config"
[ -e /usr/include/pcap/pcap.h ] || need="$need libpcap-dev"
if [ "${1:-}" = tests ]; then
    # The tests make their own network namespaces (iproute2) in which VMs (python3) talk and a copy of eastwatch gets
    # its one capability (setcap); they compare with tcpdump. nsenter, setpriv and unshare are util-linux's.
    have ip || need="$need iproute2"
    have python3 || need="$need python3"
    have setcap || [ -x /usr/sbin/setcap ] || need="$need libcap2-bin"
    have tcpdump || need="$need tcpdump"
    # Signed baselines, and rules as nftables takes them.
    have minisign || need="$need minisign"
    have ssh-keygen || need="$need openssh-client"
    have nft || [ -x /usr/sbin/nft ] || need="$need nftables"
    # The real servers and clients that tests/record puts on a wire; without namespaces nothing is recorded.
    if [ -z "${EASTWATCH_NO_NETNS:-}" ] && command -v dpkg-query >/dev/null 2>&1; then
        for package in $(cat tests/record/packages.txt); do
            dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || need="$need $package"
        done
    fi
fi
# Wheels that the recordings need, in a folder of their own; remade only when the list changes.
wheels() {
    [ "${1:-}" = tests ] && [ -z "${EASTWATCH_NO_NETNS:-}" ] || return 0
    cmp -s tests/record/requirements.txt target/venv/requirements.txt && return 0
    rm -rf target/venv
    mkdir -p target
    { /usr/bin/python3 -m venv target/venv && target/venv/bin/pip install -q -r tests/record/requirements.txt; } \
        >target/venv.log 2>&1 || {
        tail -n 5 target/venv.log >&2
        echo "pip could not install tests/record/requirements.txt (EASTWATCH_NO_NETNS=1 leaves the recordings out)" >&2
        exit 1
    }
    cp tests/record/requirements.txt target/venv/requirements.txt
}
if ! have cargo; then
    echo "eastwatch needs Rust 1.95 or newer (cargo is not in PATH): see https://rustup.rs" >&2
    exit 1
fi
if [ -z "$need" ]; then
    wheels "${1:-}"
    exit 0
fi
if ! have apt-get; then
    echo "eastwatch needs these packages (Debian names), install them and run make again:$need" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif have sudo && sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "eastwatch needs packages that only root may install. Run this, then make again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y$need" >&2
    exit 1
fi
echo "installing:$need"
# Installing a server must not run it here, now or at the next boot: Debian asks policy-rc.d before it starts one, and
# enables it by a link into a *.wants folder. A policy that is there already stays.
policy=/usr/sbin/policy-rc.d
made_policy=""
enabled() { find /etc/systemd/system -path '*.wants/*' -type l 2>/dev/null | sort; }
tidy() {
    [ -z "$made_policy" ] || $sudo rm -f "$policy"
    rm -f "/tmp/eastwatch-apt.$$" "/tmp/eastwatch-enabled.$$"
}
trap tidy EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
fi
enabled >"/tmp/eastwatch-enabled.$$"
# --no-remove: a package that conflicts with one of the machine's own is told, never swapped for it.
# shellcheck disable=SC2086
{ $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-remove --no-install-recommends $need; } >/tmp/eastwatch-apt.$$ 2>&1 || {
    tail -n 5 "/tmp/eastwatch-apt.$$" >&2
    echo "apt-get could not install:$need" >&2
    exit 1
}
enabled | comm -13 "/tmp/eastwatch-enabled.$$" - | while read -r link; do $sudo rm -f "$link"; done
wheels "${1:-}"
