#!/bin/bash
# Neovim 0.12 for the tests, beside the system:  editors/nvim/install.sh [PREFIX]  ->  PREFIX/bin/nvim
set -euo pipefail
prefix=$(realpath -m "${1:-.editors}")
"$(dirname "$0")/../debian.sh" "$prefix/nvim" forky neovim
root=$prefix/nvim/root lib=$prefix/nvim/root/usr/lib/$(uname -m)-linux-gnu
mkdir -p "$prefix/bin"
cat >"$prefix/bin/nvim" <<RUN
#!/bin/sh
export VIMRUNTIME=$root/usr/share/nvim/runtime LUA_CPATH="$lib/lua/5.1/?.so;;" LUA_PATH="$root/usr/share/lua/5.1/?.lua;;"
exec $(ls "$lib"/ld-linux-*.so.* | head -1) --library-path $lib $root/usr/bin/nvim "\$@"
RUN
chmod +x "$prefix/bin/nvim"
"$prefix/bin/nvim" --version | head -1
