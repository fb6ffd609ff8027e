"""diffusion/train/prose.py: what is left of a file without its docstrings and comments is the same program."""

import ast
import sysconfig
from pathlib import Path

import pytest

from diffusion.train.prose import KEEP_PROSE_ONE_IN, for_training, without_prose

SOURCE = '''#!/usr/bin/env python
# coding: utf-8
"""A module."""

import os  # for paths


# What it is for.
class Thing:
    """A thing."""

    size = 3
    """Its size."""

    def of(self, text):
        """Told in

        several lines."""

        # first
        return text + "# no comment" + """nor a docstring"""


def nothing():
    """Only words."""
'''
CODE = '''#!/usr/bin/env python

import os


class Thing:
    size = 3

    def of(self, text):
        return text + "# no comment" + """nor a docstring"""


def nothing():
    pass
'''


def test_docstrings_and_comments_go_and_code_stays() -> None:
    assert without_prose(SOURCE) == CODE


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('if x: "why"; y = 1  # so\n', "if x: pass; y = 1\n"),
        ('def f(): "Doc."\n', "def f(): pass\n"),
        ('"""Only a docstring."""\n', ""),
        ("x = 1\n", "x = 1\n"),
    ],
)
def test_what_must_stay_a_statement_becomes_pass(text: str, left: str) -> None:
    assert without_prose(text) == left


SCRIPT = """#!/usr/bin/env node
/**
 * What it is for.
 */
import { join } from 'node:path' // for paths

// One.
export function at(folder /* absolute */, name) {
  /* Two
     lines. */

  return/* nothing */join(folder, `// ${name}`) // done
}
"""
BARE_SCRIPT = """#!/usr/bin/env node
import { join } from 'node:path'

export function at(folder, name) {
  return join(folder, `// ${name}`)
}
"""


@pytest.mark.parametrize("name", ["a.js", "a.ts", "a.tsx", "a.mjs"])
def test_comments_of_scripts_go_and_code_stays(name: str) -> None:
    assert without_prose(SCRIPT, name) == BARE_SCRIPT


class Bare(ast.NodeTransformer):
    """A program without what says nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def visit_Pass(self, node: ast.Pass) -> None:
        return None


@pytest.mark.parametrize("name", ["argparse", "dataclasses", "tokenize", "typing", "turtle", "asyncio/tasks"])
def test_real_files_stay_the_same_program(name: str) -> None:
    text = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8")
    bare = without_prose(text)
    assert len(bare) < len(text)
    assert ast.dump(Bare().visit(ast.parse(bare))) == ast.dump(Bare().visit(ast.parse(text)))


def test_some_files_keep_their_prose_and_always_the_same_ones() -> None:
    texts = [f'"""Module {n}."""\nx = {n}\n' for n in range(400)]
    kept = [text for text in texts if for_training(text) == text]
    assert kept == [text for text in texts if for_training(text) == text]
    assert 0.5 < len(kept) * KEEP_PROSE_ONE_IN / len(texts) < 1.5
