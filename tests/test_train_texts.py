"""diffusion/train/texts.py, corpus_npm.py and dataset.py: sources become texts, texts become arrays."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from diffusion.tokenizer import Tokenizer
from diffusion.train import dataset
from diffusion.train.cli import main
from diffusion.train.corpus import Source, installed_files
from diffusion.train.corpus_npm import collect_npm, read_script
from diffusion.train.dataset import LANGUAGES, Dataset, build, keep_tokenizer, save
from diffusion.train.texts import read_texts, write_texts
from diffusion.vocabulary import Vocabulary
from tests.models import SMALL

SCRIPT = "export function add(left, right) {\n  return left + right\n}\n\n" * 9


def package(root: Path, name: str, licence: str, **files: str) -> None:
    """An unpacked npm package."""
    folder = root / name.lstrip("@").replace("/", "-")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "1.2.3", "license": licence}))


def test_readable_scripts_of_permissive_packages_are_kept(tmp_path: Path) -> None:
    other = SCRIPT.replace("add", "sub").replace("+", "-").replace("left", "a").replace("right", "b")
    package(tmp_path, "@new/one", "MIT", **{"src/a.ts": SCRIPT, "dist/a.js": other, "types.d.ts": other})
    package(tmp_path, "copyleft", "GPL-3.0", **{"index.js": other})
    package(tmp_path, "compiled", "MIT", **{"lib/a.js": "exports.__esModule = true\n" + other})
    package(tmp_path, "@tanstack/db", "MIT", **{"src/held.ts": other})
    report: Counter[str] = Counter()
    found = list(collect_npm([tmp_path], [], report))
    assert [(one.package, one.name, one.language) for one in found] == [
        ("@tanstack/db", "held.ts", "typescript"), ("@new/one", "a.ts", "typescript"),
    ]  # fmt: skip
    assert report["not readable, generated or odd"] == 1
    assert found[1].licence == "MIT" and found[1].version == "1.2.3"


def test_scripts_that_do_not_parse_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "good.ts").write_text(SCRIPT)
    (tmp_path / "broken.ts").write_text(SCRIPT + "function (")
    assert read_script(tmp_path / "good.ts") == SCRIPT
    assert read_script(tmp_path / "broken.ts") is None


def test_all_modules_of_a_held_out_distribution_are_held_out(tmp_path: Path) -> None:
    for name, folder in (("Django_Modern.REST", "dmr"), ("other", "other")):
        info = tmp_path / f"{folder}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\nLicense-Expression: MIT\n\n")
        (info / "RECORD").write_text(f"{folder}/a.py,,\n{folder}_plugin.py,,\n")
    found = [file[0] for file in installed_files(tmp_path)]
    assert found == ["django-modern-rest", "django-modern-rest", "other", "other_plugin"]


def sources(n: int) -> list[Source]:
    """Files of two packages, every third TypeScript."""
    return [
        Source(f"p{i % 2}", "1", "MIT", "a.ts" if i % 3 == 0 else "a.py", f"x_{i} = f({i})\n" * 20,
               "typescript" if i % 3 == 0 else "python")
        for i in range(n)
    ]  # fmt: skip


def test_texts_come_back_as_they_were_written(tmp_path: Path) -> None:
    written = [*sources(3), Source("p", "1", "MIT", "ü.py", "print('ü\u2028')\n" * 9)]
    assert write_texts(tmp_path / "a.jsonl", written) == sum(len(one.text.encode()) for one in written)
    assert read_texts(tmp_path / "a.jsonl") == written
    with pytest.raises(ValueError, match="mezzotint train collect"):
        read_texts(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("tokenizer", [SMALL, SMALL / "tokenizer.json", None])
def test_texts_become_arrays_with_any_tokenizer(tmp_path: Path, tokenizer: Path | None) -> None:
    texts, every = tmp_path / "texts", sources(30)
    texts.mkdir()
    write_texts(texts / "python.jsonl", [one for one in every if one.language == "python"])
    write_texts(texts / "javascript.jsonl", [one for one in every if one.language != "python"])
    write_texts(texts / "held_out.jsonl", sources(2))
    summary = build(tmp_path / "data", texts, tokenizer, vocab_size=400)
    data, held_out = Dataset.open(tmp_path / "data"), Dataset.open(tmp_path / "data" / "held_out")
    assert (len(data.package), len(held_out.package)) == (30, 2)
    assert data.language.dtype == np.uint8 and data.tokens.dtype == np.uint16
    decoded = {(data.tokenizer.decode(data.file(i).tolist()), LANGUAGES[data.language[i]]) for i in range(30)}
    assert decoded == {(one.text, one.language) for one in every}
    assert summary["languages"]["typescript"]["files"] == 10  # type: ignore[index]
    build(tmp_path / "half", texts, tokenizer, vocab_size=400, share=0.5)
    assert sorted(Counter(Dataset.open(tmp_path / "half").language.tolist()).values()) == [5, 10]


def test_token_ids_of_another_tokenizer_travel_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Vocabulary(**dict.fromkeys(("mask", "other", "file"), -1), end=20, also_ends=(21,))
    theirs = Tokenizer.load(SMALL / "tokenizer.json", ids, 8200)
    (tmp_path / "tokenizer.json").write_bytes((SMALL / "tokenizer.json").read_bytes())
    (tmp_path / "to").mkdir()
    monkeypatch.setattr(dataset, "read_tokenizer", lambda path: theirs)
    keep_tokenizer(tmp_path, tmp_path / "to")
    monkeypatch.undo()
    kept = dataset.read_tokenizer(tmp_path / "to")
    assert (kept.vocabulary, kept.vocab_size) == (ids, 8200)


def test_a_vocabulary_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    large = Tokenizer.load(SMALL / "tokenizer.json", n_rows=70_000)
    with pytest.raises(ValueError, match="70000 does not fit"):
        save(tmp_path, sources(1), large)


def test_a_corpus_without_texts_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "--texts", str(tmp_path), "--out", str(tmp_path / "data")]) == 2
    assert "mezzotint train collect" in capsys.readouterr().err
