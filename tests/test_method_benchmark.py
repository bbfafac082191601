"""The benchmark of the method: what it prints of finished fits."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
AUROC = {
    "bayes": 0.9,
    "skip": 0.8,
    "zero": 0.81,
    "skip + dropout": 0.83,
    "conditional": 0.85,
    "gradient_boosting": 0.815,
}


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import method

    yield method
    for name in ("method", "method_picture"):
        sys.modules.pop(name, None)


def results(method: ModuleType) -> list[dict]:
    """Two seeds of one cell, of which the second is .01 easier for everybody."""
    cell = asdict(method.Cell(1000, 0.4, 0.5, "missing"))
    return [
        {"cell": cell, "method": name, "seed": seed} | dict.fromkeys(method.JUDGED, value + seed / 100)
        for name, value in AUROC.items()
        for seed in (0, 1)
    ]


def test_the_share_of_the_gap_and_the_best_without_imputation(
    method: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    method.promised(results(method), method.CELLS)
    row = capsys.readouterr().out.strip().splitlines()[-1]
    cells = [text.strip() for text in row.strip("|").split("|")]
    assert cells[:5] == ["1000", "0.4", "50%", "missing", "2"]
    assert cells[5:8] == ["0.9050", "0.8050", "0.8550"]
    assert cells[8] == "+0.50 [+0.50, +0.50]"
    assert cells[9] == cells[11] == "0.0200 [0.0200, 0.0200]"
    assert cells[10] == "skip + dropout"
    assert cells[12:] == ["", "0.8200", ""]  # what was not fitted has no number


def test_switches_stand_against_the_defaults(method: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    method.ablated(results(method), method.CELLS)
    printed = capsys.readouterr().out
    assert "| skip | 2 | -0.0500 [-0.0500, -0.0500]" in printed
    assert "| bayes" not in printed


def test_finished_fits_are_not_run_again_and_can_be_drawn(
    method: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in results(method)))
    picture = tmp_path / "grid.svg"
    arguments = ["--out", str(tmp_path), "--minutes", "0", "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", ["method.py", *arguments])
    assert method.main() == 0
    assert b"</svg>" in picture.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"results.jsonl", "grid.svg"}


def test_every_cell_of_the_grid_has_every_method_on_five_seeds(method: ModuleType) -> None:
    fits = list(method.plan(method.CELLS, 5, ""))
    assert len(fits) == len({fit.key for fit in fits})
    assert len(method.CELLS) == 3 * 3 * 3 * 2
    for cell in method.CELLS:
        own = {fit.method for fit in fits if fit.cell == cell}
        assert own >= {"bayes", *method.CM2, *method.REFERENCES}
        assert (own >= method.ABLATIONS.keys()) == cell.is_reference
    assert {fit.method for fit in method.plan([method.Cohort()], 1, "")} >= {*method.CM2, *method.ABLATIONS}
