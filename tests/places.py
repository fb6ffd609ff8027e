"""Snippets of every language with marks: ◇ stands in code, ◆ in a comment, ● in a string. Marks are no text."""

WHOLE: dict[str, str] = {
    "python": '''\
◇#!/usr/bin/env python◆
"""Reads ◆tables."""
import os◇  ◇#◆ paths◆

def read(path: str, sep: str = "●,") -> list[str]:◇
    """◆Return the rows of a table.

    ◆path: where it is.◆"""
    # ◆open it
    ◇with open(path, "●r●")◇ as file:
        rows = [f"●{◇len(line)◇}●: {line["●a"◇].strip()◇!r}●" for line in file]
    text = """●
        # ● no comment
    """◇.join(r'●\\d' b"●")
    x = {"●": '●it"s'}◇
    raise ValueError("●no such file: " "●" + path)  # type: ignore◆
◇    return rows◇

class Table:
    "◆One table."
    width: int = 1◇
    """◆Of a column."""
    ◇
''',
    "javascript": """\
◇// ◆Reads tables.
import { open } from '●fs';◇ /* ◆async */ ◇
/**◆
 * ◆Returns the rows.
 */◇
export function read(path) {◇
  const rows = `●a ${◇path.length◇} b● ${`●${◇x◇}●`}●`;◇  // ◆why
  const re = /\\/\\/◇ [a"]/;◇
  return rows.map((row) => row.split("●,") || '● // no comment');◇
}
// ◆`
◇
""",
    "javascriptreact": """\
export const Row = ({ name }) => (
  <td className="●row" title={`●of ${◇name◇}`}>◇
    {/* ◆shown */}◇
    {◇name}◇ isn't it◇ // ◇ here
  </td>◇
);  // ◆why
""",
    "typescript": """\
// ◆Reads tables.
interface Row { name: string;◇ /* ◆of it */ }
const rows: Row[] = [{ name: '●a' }];◇
export function title(row: Row): string {
  return `●${◇row.name◇}● and "●`;◇  // ◆why
}
type Kind = "●a" | '●b';◇
""",
    "typescriptreact": """\
export function Row({ name }: { name: string }) {◇
  // ◆shown
  return <td className="●row">{◇name} don't◇</td>;◇ /* ◆ */◇
}
""",
    "go": """\
// ◆Package main reads tables.
package main◇

import "●os"◇

/*◆ Read
◆ returns rows. */◇
func Read(path string) ([]string, error) {◇
	sep := '●,'◇ // ◆a rune
	raw := `●a "b"
	// ● no comment`◇
	return strings.Split(raw+"●//", string(sep)), nil◇
}
""",
    "rust": """\
//! ◆Reads tables.◆
◇use std::fs;◇
/// ◆Returns the rows.◆
◇///◆
◇fn read<'◇a>(path: &'◇a str) -> Vec<&'a str> {◇
    let sep = '●,';◇ // ◆a char◆
    let raw = r#"●a "b" // ● no comment"#;◇
    /* ◆outer /* ◆inner */ ◆*/◇
    println!("●{} // {path}", raw);◇
    let bytes = b"●ab";◇
    raw.split(sep).collect()◇
}
""",
    "c": """\
/* ◆Reads tables. */◇
#include <stdio.h>◇
#include "●table.h"◇
#define SEP '●,' // ◆of columns
int rows(const char *path) {◇
    // ◆open it
    FILE *file = fopen(path, "●r");◇
    printf("●%s // \\"● no comment\\n"◇, path);◇
    return file == 0 ? '●\\'' : 1 /* ◆ */ + 2;◇
}
""",
    "cpp": """\
// ◆Reads tables.
#include <string>◇
namespace tables {◇
/// ◆Returns the rows.
std::string read(const std::string& path) {◇
    auto raw = R"x(●a "b" // ● no comment)x";◇
    auto text = u8"●é" "●b";◇  /* ◆why */◇
    return raw + std::to_string('●a') + path;◇
}
}  // ◆namespace
""",
    "java": """\
/** ◆Reads tables. */◇
package tables;◇
class Table {◇
    // ◆of columns
    private char sep = '●,';◇ /* ◆a char */ int n;◇
    String text = \"""
        ●a "b" // ● no comment
        \""";◇
    String read(String path) {
        return path + "●// \\"●a";◇
    }
}
""",
    "csharp": """\
// ◆Reads tables.
using System;◇
/// <summary>◆Of rows.</summary>
class Table {◇
    char sep = '●,';◇ /* ◆a char */ int n;◇
    string Read(string path) {
        var a = @"●C:\\a ""b"" // ●";◇
        var b = $"●{◇path.Length◇}● and ●{◇path}";◇
        var c = $@"●{◇path}\\●";◇
        var d = \"""● "raw" // ●\""";◇
        return path + "●// \\"●a";◇
    }
}
""",
    "ruby": """\
# ◆Reads tables.
require '●csv'◇

=begin◆
◆Of rows.
=end
class Table◇
  def read(path)◇  # ◆why
    a = "●#{◇path.size◇}● # ● no comment"◇
    b = %q(●it's # ●)◇
    c = <<~TEXT◇
      ●long # ● text #{◇path}
    TEXT
    d = { name: '●a', :size => 1 }◇
    path.gsub(/#◇ "/, "●")◇
  end
end
""",
    "php": """\
<p>Isn't it◇ // ◇ here # ◇</p>
<?php
// ◆Reads tables.
# ◆of rows
/** ◆Returns the rows. */◇
function read(string $path): array {◇
    $a = '●it // $●';◇ /* ◆why */ $n = 1;◇
    $b = "●Hello $pa◇th◇ a●nd {$path◇}● # ●";◇
    $c = <<<TEXT
      ●long // ● text $pa◇th
      TEXT;◇
    $d = <<<'TEXT'
      ●raw # ● text
      TEXT;◇
    return [$a, $b];◇
}
""",
    "shellscript": """\
#!/bin/sh◆
# ◆Reads tables.
read_rows() {◇  # ◆why
  local path="●$1◇/● ${◇HOME◇}● # ● no comment"◇
  local n=$(wc -l "●$path" | cut -d'●#' -f1)◇
  echo "●n: $(◇cat "●$path"◇)●"◇ $'●a\\n'◇ ${#◇path}◇
  cat <<EOF
long● # ● text $HO◇ME
EOF
  [ $# -eq 0 ]◇
}
""",
    "lua": """\
-- ◆Reads tables.
--[[ ◆of
◆rows ]]◇
--[==[ ◆long ]] ◆ ]==]◇
local function read(path)◇ -- ◆why
  local a = "●-- no \\"comment●"◇ .. '●b'◇
  local b = [[●long
  -- ● text]]◇
  return a .. b◇
end
""",
    "html": """\
<!DOCTYPE html>◇
<!-- ◆Of
◆tables. -->◇
<table class="●rows"◇ title='●it // "s'>◇
  <tr>Isn't it◇ # ◇ // ◇ here</tr>◇
</table>◇
""",
    "css": """\
/* ◆Of
◆tables. */◇
@import "●a.css";◇
tr.row::before {◇
  content: "●/* no comment */●";◇ /* ◆why */◇
  background: url('●a.png');◇
  color: red;◇
}
""",
    "json": """\
{◇
  "●name"◇: "●a // ● b",◇
  "●rows": [1, "●x"◇]◇
}◇
""",
    "jsonc": """\
// ◆Of tables.
{◇ /* ◆rows */◇
  "●name": "●a // ● b"◇  // ◆why
}
""",
}

# Code as it is while it is written
BROKEN: list[tuple[str, str]] = [
    ("python", "#◆"),
    ("python", "x = 1  # ◆"),
    ("python", "x = 1  ◇# "),
    ("python", "def f(:\n    # ◆\n    x = ["),
    ("python", "def f():\n    '''◆Does\n    ◆things\n    x = 1\n"),
    ("python", 'def f():\n    """◆Does things'),
    ("python", 'def f():\n    """◆'),
    ("python", '"""◆Reads'),
    ("python", 'class A:\n    """◆\n\n    def f(self):\n        return "a"\n'),
    ("python", "x = '''●a\nb●\ny = 1\n"),
    ("python", "print(\"●a # b\nx = 1\n"),
    ("python", "x = '●"),
    ("python", "f(a, '●b\ny = f('c')\n"),
    ("python", "x = f'●{◇a.\ny = 1\n"),
    ("python", "x = f'●{◇}●'\n"),
    ("python", "x = f'●{◇'\n"),
    ("python", "x = f'{a}●\n"),
    ("python", "x = f'{a[\"●b"),
    ("python", "x = [\n    '●a',\n    '●b\n"),
    ("python", "x = ')' + (  # it's ◆\ny = 1\n"),
    ("python", "x = (  # it's\n    a ◇\n"),
    ("python", "\"a\".join(◇\n'●"),
    ("python", "def f():\n    return '●"),
    ("python", 'def f():\n    if a:\n        """◆Mu is\n        the ◆mean, and b'),
    ("javascript", "/*◆"),
    ("javascript", "/** ◆Does\n * ◆things\nfunction f() { return 'a'; }\n"),
    ("javascript", "const x = 1; // ◆"),
    ("javascript", "const x = '●a\nconst y = 1;\n"),
    ("javascript", "const x = `●a\n●b"),
    ("javascript", "const x = `●${◇"),
    ("javascript", "const x = `●${◇}●`;\n"),
    ("javascript", "f(`●${a} ●\n"),
    ("javascript", "if (x) { // don't ◆\n  y(◇\n"),
    ("javascript", "if (x { /* ◆\n"),
    ("typescript", "interface A { /** ◆\n  name: string;\n}\n"),
    ("typescript", "const x: string = \"●a\nf(◇\n"),
    ("go", "package a\n\n/* ◆Read\nfunc Read() {}\n"),
    ("go", "package a\n\nvar x = \"●a\n"),
    ("go", "package a\n\nvar x = `●a\n●b\n"),
    ("go", "package a\n\nfunc f() { // don't ◆\n\tg(◇\n"),
    ("rust", "/* ◆Read\nfn read() {}\n"),
    ("rust", "fn f() { let x = \"●a\n"),
    ("rust", "fn f<'a>(x: &'◇a str, // ◆don't\n"),
    ("c", "/* ◆Read\nint read(void) { return 'a'; }\n"),
    ("c", "int x = 1; /* ◆"),
    ("c", "char *x = \"●a\nint y;\n"),
    ("c", "int f( { // don't ◆\n  g(◇\n"),
    ("cpp", "/* ◆Read\nclass A {};\n"),
    ("cpp", "auto x = \"●a // b\n"),
    ("java", "class A {\n    /** ◆Of\n    int x;\n}\n"),
    ("java", "class A { String x = \"●a\n}\n"),
    ("java", "class A { String x = \"\"\"\n  ●a\n"),
    ("csharp", "class A {\n    /* ◆Of\n    int x;\n}\n"),
    ("csharp", "class A { string x = \"●a\n}\n"),
    ("csharp", "class A { string x = $\"●{◇a.\n}\n"),
    ("ruby", "x = '●a\ny = 1\n"),
    ("ruby", "x = \"●#{◇a.\n"),
    ("ruby", "=begin\n◆Of\nx = 1\n"),
    ("ruby", "def f( # don't ◆\n  g(◇\n"),
    ("php", "<?php\n/* ◆Read\nfunction f() {}\n"),
    ("php", "<?php\n$x = '●a\n"),
    ("php", "<?php\n$x = \"●a {$b->◇\n"),
    ("php", "<?php\nfunction f( { // don't ◆\n  g(◇\n"),
    ("shellscript", "echo \"●a\nls\n"),
    ("shellscript", "echo '●a # b"),
    ("shellscript", "echo \"●$(◇cat \n"),
    ("shellscript", "if [ -f a # don't ◆\n"),
    ("lua", "--[[ ◆Of\nlocal x = 1\n"),
    ("lua", "local x = '●a\nlocal y = 1\n"),
    ("lua", "local x = [[●a\n●b\n"),
    ("lua", "f( -- don't ◆\n  g(◇\n"),
    ("html", "<p>\n<!-- ◆Of\n<b>a</b>\n"),
    ("html", "<a href=\"●a\n<b>a</b>\n"),
    ("css", "a { /* ◆why\n  color: red;\n}\n"),
    ("css", "a { content: \"●a\n}\n"),
    ("json", "{\"●a\": \"●b\n"),
    ("json", "{\"a\": [1, \"●"),
    ("jsonc", "{ /* ◆why\n  \"a\": 1\n}\n"),
]  # fmt: skip
