#!/bin/bash
# Emacs 30 for the tests, beside the system:  editors/emacs/install.sh [PREFIX]  ->  PREFIX/bin/emacs
set -euo pipefail
prefix=$(realpath -m "${1:-.editors}")
"$(dirname "$0")/../debian.sh" "$prefix/emacs" forky emacs-nox
root=$prefix/emacs/root lib=$prefix/emacs/root/usr/lib/$(uname -m)-linux-gnu
version=$(ls "$root/usr/share/emacs" | grep -E '^[0-9]' | head -1)
share=$root/usr/share/emacs/$version libexec=$(ls -d "$root/usr/libexec/emacs/$version"/*-linux-gnu | head -1)
mkdir -p "$prefix/bin"
cat >"$prefix/bin/emacs" <<RUN
#!/bin/sh
export EMACSLOADPATH=$(find "$share/lisp" -type d | paste -sd:) EMACSDATA=$share/etc EMACSDOC=$share/etc EMACSPATH=$libexec
exec $(ls "$lib"/ld-linux-*.so.* | head -1) --library-path $lib $root/usr/bin/emacs-nox --dump-file=$(ls "$libexec"/*.pdmp | head -1) "\$@"
RUN
chmod +x "$prefix/bin/emacs"
"$prefix/bin/emacs" --batch --eval '(princ (format "GNU Emacs %s\n" emacs-version))'
