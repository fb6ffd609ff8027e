#!/bin/bash
# Unpacks Debian packages, with all they need, into a folder of their own: editors newer than the system's, and the
# system untouched. The mirror is the one that this machine's apt already uses.
#
#     editors/debian.sh FOLDER SUITE PACKAGE...     ->  FOLDER/root
set -euo pipefail
folder=$(realpath -m "$1") suite=$2
shift 2
apt=$folder/.apt
[ -d "$folder/root" ] && exit 0
command -v apt-get dpkg >/dev/null || { echo "this needs a Debian system: no apt-get here" >&2; exit 1; }
uri=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
uri=${uri:-$(awk '/^deb /{for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' /etc/apt/sources.list 2>/dev/null || true)}
[ -n "$uri" ] || { echo "no Debian mirror in this machine's apt configuration" >&2; exit 1; }
rm -rf "$apt" && mkdir -p "$apt"/{state/lists/partial,cache/archives/partial} && : >"$apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$apt/sources.list"
cat >"$apt/apt.conf" <<CONF
Dir::State "$apt/state"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "root"; Acquire::Languages "none";
CONF
export APT_CONFIG=$apt/apt.conf
apt-get -qq update
apt-get -qq install -y --no-install-recommends --download-only "$@" >/dev/null
mkdir -p "$folder/.root"
for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$folder/.root"; done
rm -rf "$apt"
mv "$folder/.root" "$folder/root"
