"""The house itself: documents name what exists, files stay short, public names are sorted."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sklar

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
MAP = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (ROOT / "docs/paper-map.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("| paper", "|---"))
]


def resolve(dotted: str) -> object:
    """The object that a dotted path names: the longest module prefix, then attributes."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("row", MAP, ids=lambda row: row[0])
def test_the_paper_map_names_symbols_that_exist_or_says_planned(row: list[str]) -> None:
    _, _, symbol, status, deviation = row
    assert status in {"done", "planned"}
    assert bool(symbol) == (status == "done")
    if symbol:
        resolve(symbol.strip("`"))
    if deviation:
        assert f"\n## {deviation}. " in (ROOT / "docs/deviations.md").read_text()


def test_the_paper_map_has_every_table_figure_and_equation() -> None:
    places = {row[0] for row in MAP}
    wanted = {f"Table {n}" for n in range(1, 12)} | {f"Figure {n}" for n in range(1, 6)}
    assert wanted | {"Algorithm 1", "Eq. 1", "Eq. 2", "ELBO", "Theorem 3.1"} <= places


def test_files_stay_under_four_hundred_lines() -> None:
    assert not [str(path) for path in SOURCES if len(path.read_text().splitlines()) > 400]


def test_nothing_in_the_library_mentions_the_places_it_was_made_in() -> None:
    places = re.compile(r"/work/|/tmp/|\bTODO\b|\bFIXME\b")
    assert not [str(path) for path in SOURCES if places.search(path.read_text())]


def test_public_names_are_sorted_and_exist() -> None:
    assert sklar.__all__ == sorted(sklar.__all__)
    for name in sklar.__all__:
        assert getattr(sklar, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Gumble'"):
        sklar.Gumble  # noqa: B018


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("sklar", {"torch", "numpy", "pyarrow", "transformers"}),
        ("sklar.cli", {"torch", "numpy", "pyarrow", "transformers", "sklearn", "matplotlib"}),
        (
            "sklar.copulas, sklar.marginals",
            {"pyarrow", "pydantic", "pytorch_lightning", "sklearn", "transformers"},
        ),
        ("sklar.report", {"pytorch_lightning", "transformers"}),
        ("sklar.evaluation", {"torch", "pyarrow", "pydantic", "sklearn", "transformers", "matplotlib"}),
    ],
)
def test_imports_stay_light(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not absent & {name.split(".")[0] for name in loaded.split()}


def test_the_changelog_has_an_entry_for_this_version_or_is_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {sklar.__version__}" in text or "## Unreleased" in text


def test_torch_comes_first_in_the_constraints_and_torchvision_never() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert pins[0] == "torch==2.13.0"
    assert not any(pin.startswith(("torchvision", "timm")) for pin in pins)


def test_the_readme_python_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    blocks = [block for block in blocks if "MultimodalClassifier" not in block]  # test_own_data runs that one
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert isinstance(names["completed"], dict)
