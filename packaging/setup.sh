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
fi
if ! have cargo; then
    echo "eastwatch needs Rust 1.95 or newer (cargo is not in PATH): see https://rustup.rs" >&2
    exit 1
fi
[ -n "$need" ] || exit 0
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
# shellcheck disable=SC2086
{ $sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $need; } >/tmp/eastwatch-apt.$$ 2>&1 || {
    tail -n 5 "/tmp/eastwatch-apt.$$" >&2
    rm -f "/tmp/eastwatch-apt.$$"
    echo "apt-get could not install:$need" >&2
    exit 1
}
rm -f "/tmp/eastwatch-apt.$$"
