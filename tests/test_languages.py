"""The table of languages: ids, file names, and what training knows of the same languages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from diffusion import grammars
from lsp_server.text import languages
from lsp_server.text.languages import LANGUAGES, OTHER, language_of

QUERIES = Path(languages.__file__).parent / "queries"


def test_the_language_comes_from_the_file_name_where_the_editor_says_nothing() -> None:
    assert language_of("", "file:///x/a.PY") == "python"
    assert language_of("plaintext", "file:///x/a.pyi") == "python"
    assert language_of("rust", "file:///x/a.py") == "rust"
    assert language_of("", "file:///x/Makefile") == ""


@pytest.mark.parametrize(
    ("said", "meant"),
    [("sh", "shellscript"), ("C++", "cpp"), ("objc", "c"), ("tsx", "typescriptreact"), ("cs", "csharp"), ("go", "go")],
)
def test_editors_have_other_names_for_some_languages(said: str, meant: str) -> None:
    assert language_of(said, "file:///x/a") == meant


def test_no_two_rows_claim_the_same_id_alias_or_extension() -> None:
    ids = [name for row in LANGUAGES for name in (row.id, *row.aliases)]
    extensions = [extension for row in LANGUAGES for extension in row.extensions]
    assert len(set(ids)) == len(ids)
    assert len(set(extensions)) == len(extensions)
    assert all(extension.startswith(".") and extension == extension.lower() for extension in extensions)


def test_every_query_belongs_to_a_language_and_every_language_has_one() -> None:
    assert {row.query for row in LANGUAGES} == {path.stem for path in QUERIES.glob("*.scm")}
    assert all(row.grammar and row.extensions for row in LANGUAGES)


def test_a_language_without_a_row_has_no_grammar_and_no_bodies() -> None:
    assert languages.of("unheard-of") is OTHER
    assert (OTHER.grammar, OTHER.body_opener) == ("", "")


def test_training_cuts_files_with_the_grammars_that_the_server_reads_them_with() -> None:
    for suffix, (_, grammar, entry) in grammars.SUFFIXES.items():
        row = languages.of(languages.BY_EXTENSION[suffix])
        assert grammar == row.grammar, suffix
        assert entry == row.entry, suffix


def test_neovim_has_the_languages_on_that_the_model_is_for() -> None:
    config = (Path(__file__).parents[1] / "editors/nvim/lua/mezzotint/config.lua").read_text(encoding="utf-8")
    on = ", ".join(f"{language} = true" for language in languages.ON_BY_DEFAULT)
    assert f'filetypes = {{ ["*"] = false, {on} }}' in config


def test_no_code_of_the_server_asks_for_a_language_by_its_name() -> None:
    """What differs between languages is a column of the table."""
    names = {row.id for row in LANGUAGES} - {"c", "go"}
    for path in (Path(languages.__file__).parents[1] / "suggest").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
        said = {node.value for one in compared for node in ast.walk(one) if isinstance(node, ast.Constant)}
        assert not said & names, path.name
