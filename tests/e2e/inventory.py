"""The file that tests type into in a terminal's editors, and what the engine says there."""

from scripts import rule, sharpens

SOURCE = (
    '"""Inventory."""\n\nimport os\n\nnames = os.listdir(".")\npaths = [os.path.join(".", name) for name in names]\n'
)
BODY = "first = names[0]\n    return first"
SIZES = "getsize(path) for path in paths]"
RULES = (
    sharpens("sizes = [os.path.", SIZES, pass_ms=40),
    sharpens("x = os.", "curdir", pass_ms=40),
    rule("x = os.", [["sep", 0.8]], candidate=1),
    rule("x = os.", [["name", 0.8]], candidate=2),
    sharpens("total = sum(", "sizes)", pass_ms=400),
    sharpens("def main():\n    ", BODY, pass_ms=40),
)
