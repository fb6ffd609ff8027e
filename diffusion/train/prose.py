r"""Takes docstrings and comments out of training files: completion is asked for in code, and they are much of a file.

Rule: text in, text out; whole lines go where they held nothing else. What must stay a statement becomes `pass`. Some
files keep their prose, because the files that people complete in have it.

    without_prose('def f():\n    "Doc."\n    return 1  # one\n') == 'def f():\n    return 1\n'
"""

from __future__ import annotations

import hashlib
import re
from functools import cache

import tree_sitter
import tree_sitter_python

KEEP_PROSE_ONE_IN = 4
PROSE = "(comment) @comment (expression_statement . (string) @text .)"
BLANK_LINES = re.compile(rb"(?:[ \t]*\n)+")
KEPT_COMMENT = re.compile(r"#!|#.*coding[:=]")  # of a first line: the program that runs it, its encoding


def for_training(text: str) -> str:
    """The text of a file as it is trained on: with its prose now and then, always the same for the same text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return text if number % KEEP_PROSE_ONE_IN == 0 else without_prose(text)


def without_prose(text: str) -> str:
    """`text` without comments and without strings that stand alone, nor the blank lines that set them apart."""
    code, out, end = text.encode(), bytearray(), 0
    for start, stop, instead in cuts(code):
        out += code[end:start]
        end = stop
        whole = code[stop - 1 : stop] == b"\n"
        if whole and (not out or out.endswith((b"\n\n", b":\n"))):
            blank = BLANK_LINES.match(code, end)
            end = blank.end() if blank else end
        elif not whole and not instead:  # a comment behind code
            while out.endswith((b" ", b"\t")):
                del out[-1]
        out += instead
    return (out + code[end:]).decode()


def cuts(code: bytes) -> list[tuple[int, int, bytes]]:
    """Sorted byte ranges of prose, and what is to stand there instead; (start, stop, instead)."""
    parser, query = parser_and_query()
    captures = tree_sitter.QueryCursor(query).captures(parser.parse(code).root_node)
    found = []
    for node in captures.get("comment", []):
        if node.start_byte or not KEPT_COMMENT.match(code[:80].decode(errors="replace")):
            found.append((*whole_lines(code, node.start_byte, node.end_byte), b""))
    for node in captures.get("text", []):
        lines = whole_lines(code, node.start_byte, node.end_byte)
        if lines == (node.start_byte, node.end_byte) or is_all_of_its_block(node):
            found.append((node.start_byte, node.end_byte, b"pass"))
        else:
            found.append((*lines, b""))
    return sorted(found)


def is_all_of_its_block(text: tree_sitter.Node) -> bool:
    """Whether a string is the only statement of a block, comments aside."""
    block = text.parent.parent if text.parent is not None else None
    return (
        block is not None and block.type == "block" and sum(one.type != "comment" for one in block.named_children) == 1
    )


def whole_lines(code: bytes, start: int, stop: int) -> tuple[int, int]:
    """The range with its indentation and line break, if its lines hold nothing else."""
    begin = code.rfind(b"\n", 0, start) + 1
    end = code.find(b"\n", stop)
    end = len(code) if end < 0 else end + 1
    alone = not code[begin:start].strip() and not code[stop:end].strip()
    return (begin, end) if alone else (start, stop)


@cache
def parser_and_query() -> tuple[tree_sitter.Parser, tree_sitter.Query]:
    """One parser and one query for a process."""
    language = tree_sitter.Language(tree_sitter_python.language())
    return tree_sitter.Parser(language), tree_sitter.Query(language, PROSE)
