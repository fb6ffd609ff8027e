r"""Takes docstrings and comments out of training files: completion is asked for in code, and they are much of a file.

Rule: text in, text out; whole lines go where they held nothing else. What must stay a statement becomes `pass`. Some
files keep their prose, because the files that people complete in have it. The file name says the language.

    without_prose('def f():\n    "Doc."\n    return 1  # one\n') == 'def f():\n    return 1\n'
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath

import tree_sitter

from diffusion import grammars

KEEP_PROSE_ONE_IN = 4
DOCSTRINGS = "(comment) @comment (expression_statement . (string) @text .)"
COMMENTS = "(comment) @comment"
BLANK_LINES = re.compile(rb"(?:[ \t]*\n)+")
KEPT_COMMENT = re.compile(r"#!|#.*coding[:=]")  # of a first line: the program that runs it, its encoding
OPENERS = (b"\n\n", b":\n", b"{\n")  # behind these a blank line sets nothing apart


def for_training(text: str, name: str = "a.py") -> str:
    """The text of a file as it is trained on: with its prose now and then, always the same for the same text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return text if number % KEEP_PROSE_ONE_IN == 0 else without_prose(text, name)


def without_prose(text: str, name: str = "a.py") -> str:
    """`text` without comments and without strings that stand alone, nor the blank lines that set them apart."""
    code, out, end = text.encode(), bytearray(), 0
    for start, stop, instead in cuts(code, name):
        out += code[end:start]
        end = stop
        whole = code[stop - 1 : stop] == b"\n"
        if whole and (not out or out.endswith(OPENERS)):
            blank = BLANK_LINES.match(code, end)
            end = blank.end() if blank else end
        elif not whole and not instead:  # a comment behind code, or in it
            while out.endswith((b" ", b"\t")):
                del out[-1]
            if is_word(bytes(out[-1:])) and is_word(code[end : end + 1]):
                out += b" "
        out += instead
    return (out + code[end:]).decode()


def is_word(char: bytes) -> bool:
    """Whether a byte is part of a name or a number."""
    return char.isalnum() or char in (b"_", b"$")


def cuts(code: bytes, name: str) -> list[tuple[int, int, bytes]]:
    """Sorted byte ranges of prose, and what is to stand there instead; (start, stop, instead)."""
    found = []
    query = DOCSTRINGS if grammars.language_of(name) == "python" else COMMENTS
    cursor = tree_sitter.QueryCursor(grammars.query(PurePath(name).suffix, query))
    captures = cursor.captures(grammars.parse(name, code).root_node)
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
