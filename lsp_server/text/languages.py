"""The languages: one row each, with everything that is known of a language.

Rule: a fact that differs between languages is here or in the query that the row names (`queries/*.scm`: which nodes are
blocks, comments, docstrings, strings and code inside strings), and nowhere else. To add a language, add a row, its
query, its grammar to pyproject.toml, a few lines to `tests/cursor_situations.py` and a snippet to `tests/places.py`.

    of("python").body_opener        ->  ":"
    language_of("", "file:///a.rs")  ->  "rust"
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

Pair = tuple[str, str]
SLASH_STAR = (r"/\*", r"\*/")


class Lexis(NamedTuple):
    r"""How a language writes comments and strings, as far as that can be read without its grammar.

    Attributes:
        comments: leaders of line comments.
        quotes: of strings that end with their line.
        long_quotes: of strings of several lines; opening and closing.
        block_comments: what opens and what closes them, regular expressions.
        code: where strings hold code, what such a string begins with, prefix and quote, and what opens the code in it;
            regular expressions. `{{` is a brace and opens nothing.
        spaced: a comment's leader begins a word: in `$#` it is none.
    """

    comments: tuple[str, ...] = ()
    quotes: str = "\"'"
    long_quotes: tuple[Pair, ...] = ()
    block_comments: tuple[Pair, ...] = ()
    code: Pair | None = None
    spaced: bool = False


SLASHES = Lexis(("//",), block_comments=(SLASH_STAR,))
TEMPLATES = SLASHES._replace(long_quotes=(("`", "`"),), code=("`", r"\$\{"))
TEXT_BLOCKS = SLASHES._replace(long_quotes=(('"""', '"""'),))
HASHES = Lexis(("#",))
PYTHON = HASHES._replace(long_quotes=(('"""', '"""'), ("'''", "'''")), code=(r"\b(?i:[ft]r?|r[ft])[\"']", r"\{\{?"))


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        id: the LSP language id.
        aliases: other ids that editors use for it.
        extensions: of its files.
        grammar: the module of its tree-sitter grammar; "" where line rules must do.
        entry: the function in that module that returns the grammar.
        query: the name of its query.
        lexis: its comments and strings, for code that does not parse.
        body_opener: what ends the header of a block that may be offered with it; "" if none is.
        has_docstrings: whether a string that is a statement of its own is documentation.
        has_magics: whether its cells in notebooks may hold lines of IPython's.
        ascii_only: whether its grammar may be given ASCII only.
    """

    id: str
    aliases: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    grammar: str = ""
    entry: str = "language"
    query: str = ""
    lexis: Lexis = SLASHES
    body_opener: str = ""
    has_docstrings: bool = False
    has_magics: bool = False
    ascii_only: bool = False


_JAVASCRIPT = Language(
    "javascript",
    aliases=("js",),
    extensions=(".js", ".mjs", ".cjs"),
    grammar="tree_sitter_javascript",
    query="javascript",
    lexis=TEMPLATES,
    body_opener="{",
)
_TYPESCRIPT = Language(
    "typescript",
    aliases=("ts",),
    extensions=(".ts", ".mts", ".cts"),
    grammar="tree_sitter_typescript",
    entry="language_typescript",
    query="typescript",
    lexis=TEMPLATES,
    body_opener="{",
)
_JSON = Language("json", extensions=(".json",), grammar="tree_sitter_json", query="json", lexis=Lexis(quotes='"'))

LANGUAGES = (
    Language(
        "python",
        aliases=("py",),
        extensions=(".py", ".pyi", ".pyw"),
        grammar="tree_sitter_python",
        query="python",
        lexis=PYTHON,
        body_opener=":",
        has_docstrings=True,
        has_magics=True,
    ),
    _JAVASCRIPT,
    replace(_JAVASCRIPT, id="javascriptreact", aliases=("jsx", "javascript.jsx"), extensions=(".jsx",)),
    _TYPESCRIPT,
    replace(
        _TYPESCRIPT,
        id="typescriptreact",
        aliases=("tsx", "typescript.tsx"),
        extensions=(".tsx",),
        entry="language_tsx",
    ),
    Language(
        "go",
        aliases=("golang",),
        extensions=(".go",),
        grammar="tree_sitter_go",
        query="go",
        lexis=TEMPLATES._replace(code=None),
        body_opener="{",
    ),
    Language(
        "rust",
        aliases=("rs",),
        extensions=(".rs",),
        grammar="tree_sitter_rust",
        query="rust",
        lexis=SLASHES._replace(quotes='"', long_quotes=(('r#"', '"#'),)),  # a single quote begins a lifetime as well
        body_opener="{",
    ),
    Language("c", aliases=("objc",), extensions=(".c", ".h"), grammar="tree_sitter_c", query="c", body_opener="{"),
    Language(
        "cpp",
        aliases=("c++",),
        extensions=(".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cu", ".cuh"),
        grammar="tree_sitter_cpp",
        query="cpp",
        lexis=SLASHES._replace(long_quotes=(('R"(', ')"'),)),
        body_opener="{",
    ),
    Language(
        "java", extensions=(".java",), grammar="tree_sitter_java", query="java", lexis=TEXT_BLOCKS, body_opener="{"
    ),
    Language(
        "csharp",
        aliases=("cs",),
        extensions=(".cs",),
        grammar="tree_sitter_c_sharp",
        query="csharp",
        lexis=TEXT_BLOCKS._replace(code=(r'(?:\$@?|@\$|\$+"")"', r"\{\{?")),
        body_opener="{",
    ),
    Language(
        "ruby",
        aliases=("rb",),
        extensions=(".rb", ".rake"),
        grammar="tree_sitter_ruby",
        query="ruby",
        lexis=HASHES._replace(block_comments=((r"(?m:^)=begin\b", r"(?m:^)=end\b"),), code=('"', r"#\{")),
    ),
    Language(
        "php",
        extensions=(".php",),
        grammar="tree_sitter_php",
        entry="language_php",
        query="php",
        lexis=SLASHES._replace(comments=("//", "#"), code=('"', r"\{(?=\$)")),
        body_opener="{",
    ),
    Language(
        "shellscript",
        aliases=("bash", "sh"),
        extensions=(".sh", ".bash"),
        grammar="tree_sitter_bash",
        query="shellscript",
        ascii_only=True,  # its scanner looks characters up in a table of 256, and ends the process beyond
        lexis=HASHES._replace(code=('"', r"\$[({]"), spaced=True),
    ),
    Language(
        "lua",
        extensions=(".lua",),
        grammar="tree_sitter_lua",
        query="lua",
        lexis=Lexis(
            ("--",),
            long_quotes=(("[[", "]]"), ("[=[", "]=]"), ("[==[", "]==]")),
            block_comments=((r"--\[\[", r"\]\]"), (r"--\[=\[", r"\]=\]"), (r"--\[==\[", r"\]==\]")),
        ),
    ),
    Language(
        "html",
        extensions=(".html", ".htm"),
        grammar="tree_sitter_html",
        query="html",
        lexis=Lexis(quotes="", long_quotes=(('="', '"'), ("='", "'")), block_comments=(("<!--", "-->"),)),
    ),
    Language(
        "css",
        extensions=(".css",),
        grammar="tree_sitter_css",
        query="css",
        lexis=Lexis(block_comments=(SLASH_STAR,)),
        body_opener="{",
    ),
    _JSON,
    replace(_JSON, id="jsonc", extensions=(".jsonc",), lexis=SLASHES),
)

OTHER = Language("")  # any language without a row
BY_ID = {language.id: language for language in LANGUAGES}
BY_ALIAS = {alias: language.id for language in LANGUAGES for alias in language.aliases}
BY_EXTENSION = {extension: language.id for language in LANGUAGES for extension in language.extensions}
ON_BY_DEFAULT = ("python",)  # what the embedded model's card has figures for


def of(language: str) -> Language:
    """Return the row of a language id, OTHER if there is none."""
    return BY_ID.get(language, OTHER)


def language_of(language_id: str, uri: str) -> str:
    """Return the language id, from the file name where the editor gave none."""
    if language_id and language_id != "plaintext":
        return BY_ALIAS.get(language_id.lower(), language_id)
    name = uri.rsplit("/", 1)[-1]
    return BY_EXTENSION.get("." + name.rsplit(".", 1)[-1].lower(), language_id) if "." in name else language_id
