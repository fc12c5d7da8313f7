#!/bin/sh
# Puts the broker, its settings and its service in place. Run it as root from an unpacked release, or
# from a checkout after `cargo build --profile server -p broker-min`. Overwrites no settings.
# `install.sh --prefix DIR` puts everything under DIR, for packages and tests, and starts nothing.
set -eu

prefix=
case ${1-} in
'') ;;
--prefix) prefix=${2:?a folder must follow --prefix} ;;
*)
    echo "usage: install.sh [--prefix DIR]" >&2
    exit 2
    ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
binary=
for candidate in "$here/broker-min" "$here/../target/server/broker-min" "$here/../target/release/broker-min"; do
    if [ -x "$candidate" ]; then
        binary=$candidate
        break
    fi
done
if [ -z "$binary" ]; then
    echo "install.sh: no broker-min beside this script; build it: cargo build --profile server -p broker-min" >&2
    exit 1
fi

install -d "$prefix/usr/local/bin" "$prefix/etc/claudemesh" "$prefix/etc/systemd/system"
install -m 0755 "$binary" "$prefix/usr/local/bin/broker-min"
install -m 0644 "$here/claudemesh-broker.service" "$prefix/etc/systemd/system/claudemesh-broker.service"
if [ ! -e "$prefix/etc/claudemesh/broker.toml" ]; then
    install -m 0644 "$here/broker.toml" "$prefix/etc/claudemesh/broker.toml"
    echo "wrote $prefix/etc/claudemesh/broker.toml: set public-url and the certificate there"
fi
[ -z "$prefix" ] || exit 0

if ! id claudemesh >/dev/null 2>&1; then
    useradd --system --home-dir /var/lib/claudemesh --shell /usr/sbin/nologin claudemesh
fi
if command -v systemctl >/dev/null; then
    systemctl daemon-reload
    echo "next: edit /etc/claudemesh/broker.toml, then systemctl enable --now claudemesh-broker"
else
    echo "no systemd here: run broker-min --config /etc/claudemesh/broker.toml by your own means"
fi
