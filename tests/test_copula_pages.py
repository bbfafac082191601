"""The copula pages: one per family, their examples run, their pictures can be drawn."""

import doctest
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from sklar.copulas import FAMILIES

FOLDER = Path(__file__).parents[1] / "docs" / "copulas"
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_copula_pictures", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run_and_print_what_the_page_says(page: Path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    assert all(block.startswith(">>>") for block in blocks)
    test = doctest.DocTestParser().get_doctest("".join(blocks), {}, page.name, str(page), 0)
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_page_with_its_picture_and_a_line_in_the_table(family: str):
    page = (FOLDER / f"{family}.md").read_text()
    assert f"(pictures/{family}.svg)" in page
    assert f"[{family}]({family}.md)" in (FOLDER / "README.md").read_text()
    for part in ("**Formula.**", "**h-function.**", "**Sampling.**", "**Reference"):
        assert part in page


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_small_and_the_same_every_time(family: str, builder: ModuleType, tmp_path: Path):
    picture = builder.draw(family, tmp_path)
    first = picture.read_bytes()
    assert 5_000 < len(first) < 60_000
    assert builder.draw(family, tmp_path).read_bytes() == first
    assert (FOLDER / "pictures" / picture.name).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^):#]+)\)", page.read_text()):
        assert (FOLDER / target).exists(), target
