"""Documents, trees, offsets and masks under random edits, in every encoding."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffusion.request import Hole
from lsp_server.suggest.cleanup import clean
from lsp_server.suggest.context import frame, normal_newlines
from lsp_server.suggest.holes import plan_at
from lsp_server.text import languages
from lsp_server.text.documents import Document, Snapshot, snapshot
from lsp_server.text.lines import Edit
from lsp_server.text.trees import Trees

LANGUAGES = sorted(languages.BY_ID)
ENCODINGS = ["utf-8", "utf-16", "utf-32"]
PIECES = [
    *("def f(a):\n", "    return a\n", "if x {\n", "}\n", "foo(bar[1], 'x')", "import os\n", "x = ", "a.b", "<p>"),
    *("# c\n", "// c\n", "/*", "*/", '"""', "'", '"', "`", "(", ")", "[", "]", "{", "}", ";", ":"),
    *("é", "🜂", "名", " ", "\t", "\n", "\r\n", "\r"),
]
texts = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
examples = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def opened(text: str, language: str, encoding: str) -> Document:
    return Document("file:///a", 1, Trees(language), text, encoding, 1_000_000)


def described(snapshot: Snapshot) -> str:
    """The whole tree, positions included."""
    lines, nodes = [], [snapshot.tree.root_node] if snapshot.tree is not None else []
    while nodes:
        node = nodes.pop()
        lines.append(
            f"{node.type} {node.start_byte} {node.end_byte} {node.start_point} {node.end_point} {node.is_missing}"
        )
        nodes.extend(node.children)
    return "\n".join(lines)


@examples
@given(st.data(), texts, st.sampled_from(LANGUAGES), st.sampled_from(ENCODINGS))
def test_offsets_survive_astral_characters_and_every_line_end(
    data: st.DataObject, text: str, language: str, encoding: str
) -> None:
    taken = opened(text, language, encoding).snapshot()
    offset = data.draw(st.integers(0, len(text)))
    if offset and text[offset - 1 : offset + 1] == "\r\n":
        return  # no position is between the two
    assert taken.offset_at(*taken.point_at(offset)) == offset
    assert taken.offset_of_byte(taken.byte_at(offset)) == offset


@examples
@given(st.data(), texts, st.sampled_from(LANGUAGES), st.sampled_from(ENCODINGS))
def test_incremental_text_and_tree_equal_fresh_ones(
    data: st.DataObject, text: str, language: str, encoding: str
) -> None:
    document = opened(text, language, encoding)
    for version in range(2, 2 + data.draw(st.integers(1, 4))):
        now = document.snapshot()
        start, stop = sorted((data.draw(st.integers(0, len(now.text))), data.draw(st.integers(0, len(now.text)))))
        if any(at and now.text[at - 1 : at + 1] == "\r\n" for at in (start, stop)):
            continue
        new = data.draw(texts)
        document.change(version, [Edit(now.point_at(start), now.point_at(stop), new)])
        assert document.snapshot().text == now.text[:start] + new + now.text[stop:]
    incremental = document.snapshot()
    fresh = opened(incremental.text, language, encoding).snapshot()
    assert list(incremental.lines) == list(fresh.lines)
    assert described(incremental) == described(fresh)


@examples
@given(st.data(), texts, st.sampled_from([*LANGUAGES, "unheard-of"]))
def test_a_mask_never_leaves_its_line_and_never_overlaps_fixed_text(
    data: st.DataObject, text: str, language: str
) -> None:
    taken = snapshot("file:///a", text, language)
    offset = data.draw(st.integers(0, len(text)))
    plan = plan_at(taken, offset)
    if plan is None:
        return
    replaced = taken.text[plan.start : plan.end]
    assert plan.start == offset <= plan.end
    assert "\n" not in replaced and "\r" not in replaced
    assert replaced.endswith(plan.kept) if not plan.multiline else plan.kept in replaced
    assert all(char.isalnum() or char == "_" for char in replaced.replace(plan.kept, "", 1))
    assert isinstance(plan.middle[0], Hole)
    assert sum(part.max_tokens for part in plan.middle if isinstance(part, Hole)) + len(plan.kept) <= 128
    assert 0 <= plan.statement <= plan.start


@examples
@given(st.data(), texts, texts, texts, st.sampled_from(LANGUAGES), st.sampled_from(ENCODINGS))
def test_accepting_an_item_gives_exactly_the_previewed_text(
    data: st.DataObject, text: str, draft: str, other: str, language: str, encoding: str
) -> None:
    document = opened(text, language, encoding)
    taken = document.snapshot()
    offset = data.draw(st.integers(0, len(text)))
    plan = plan_at(taken, offset)
    if plan is None or (offset and text[offset - 1 : offset + 1] == "\r\n"):
        return
    holes = iter([normal_newlines(draft), normal_newlines(other)])
    draft = "".join(part if isinstance(part, str) else next(holes) for part in plan.middle)
    cleaned = clean(draft, frame(taken, plan))
    if cleaned is None:
        return
    item = cleaned.of(draft)
    assert all(part in item for part in plan.middle if isinstance(part, str))
    assert item.endswith(plan.middle[-1]) if isinstance(plan.middle[-1], str) else draft.startswith(item.rstrip())
    document.change(2, [Edit(taken.point_at(plan.start), taken.point_at(plan.end), item)])
    assert document.snapshot().text == text[: plan.start] + item + text[plan.end :]
