import json
from pathlib import Path

import pytest

from diffusion.evaluate import report
from diffusion.evaluate.run import fill, main
from diffusion.request import Draft, InfillRequest

DATA = Path(__file__).parent / "data" / "humaneval_infilling.jsonl"
FIELDS = {"exact", "edit_similarity", "parses", "forward_passes", "ms", "n"}


def holdout(folder: Path) -> Path:
    """Three held-out packages, one file each."""
    for package in ("dmr", "docket", "zapros"):
        (folder / package).mkdir()
        lines = (f"def make_{i}(value, size):\n    total = value + size * {i}\n    return total\n\n" for i in range(20))
        (folder / package / "app.py").write_text("\n".join(lines))
    return folder


def test_last_line_is_one_json_object_by_hole_kind_and_decoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rest-of-line", "2", "--multi-line", "0", "--others", "0", "--humaneval", str(DATA), "--limit", "1"]
    target = tmp_path / "quality.md"
    argv = ["--holdout", str(holdout(tmp_path)), *options, "--markdown", str(target)]
    assert main(argv) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    packages = results.pop("packages")
    assert sum(numbers["diffusion"]["n"] for numbers in packages.values()) == 2
    assert set(packages) <= {"dmr", "docket", "zapros"}
    assert {kind: numbers["diffusion"]["n"] for kind, numbers in results.items()} == {
        "rest_of_line": 2, "humaneval_single_line": 1,
    }  # fmt: skip
    for numbers in results.values():
        assert list(numbers) == ["diffusion", "diffusion from masks", "recall alone", "autoregressive"]
        assert all(numbers[decoder].keys() >= FIELDS for decoder in numbers)
        assert numbers["recall alone"]["forward_passes"] == 0
        assert all(numbers[name]["forward_passes"] >= 1 for name in numbers if name != "recall alone")
    assert results["humaneval_single_line"]["diffusion"].keys() >= {"pass_rate", "floor", "sandbox"}
    assert "| rest_of_line | diffusion |" in target.read_text()
    assert str(tmp_path) not in target.read_text()


def test_too_few_held_out_packages_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--holdout", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "holds 0 of the held-out packages" in err
    assert "make holdout" in err


@pytest.mark.parametrize("argv", [["--humaneval", "absent.jsonl"], ["--mbpp", "absent.jsonl"], ["--model", "absent"]])
def test_a_missing_file_is_one_clear_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rest-of-line", "0", "--multi-line", "0", "--others", "0", *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "absent" in err


def test_the_last_draft_counts_and_no_draft_is_an_empty_completion() -> None:
    drafts = [Draft(1, "a", ((0, 1),), 0.0, 1), Draft(2, "ab", (), 0.9, 2, done=True)]
    assert fill(lambda request, cancelled: iter(drafts), InfillRequest("", ""))[:2] == ("ab", 2)
    assert fill(lambda request, cancelled: iter(()), InfillRequest("", ""))[:2] == ("", 0)


def test_table_shows_shares_in_percent_and_what_is_missing_as_a_dash() -> None:
    rows = report.table({"rest_of_line": {"diffusion": {"exact": 0.25, "forward_passes": 4.5, "n": 8}}})
    cells = dict(zip(rows[0], rows[1], strict=True))
    assert (cells["exact"], cells["parses"], cells["passes"], cells["n"]) == ("25.0%", "-", "4.5", "8")
    header, line = report.aligned(rows).splitlines()
    assert header.index("exact") == line.index("25.0%")


def test_package_table_shows_the_exact_matches_of_every_decoder() -> None:
    cells = {"diffusion": {"exact": 0.5, "n": 4}, "autoregressive": {"exact": 0.25, "n": 4}}
    assert report.package_table({"flask": cells}) == [
        ["package", "n", "diffusion", "autoregressive"],
        ["flask", "4", "50.0%", "25.0%"],
    ]
    assert report.package_table({}) == [["package", "n"]]
