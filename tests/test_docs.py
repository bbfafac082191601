"""The documentation: links lead somewhere, every public name is on a page, and the site builds."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sklar

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
OUTSIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
GENERATED = {
    found for page in PAGES for found in re.findall(r"<!-- generated: module (\S+) -->", page.read_text())
}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=name)
def test_links_lead_to_files_and_headings_that_exist(page: Path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", text):
        reached = page.parent / target if target else page
        assert reached.exists(), target
        if anchor:
            assert anchor in anchors(reached), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_page_is_in_the_table_of_contents(page: Path):
    listed = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    entries = {line for part in listed for line in part.splitlines() if not line.startswith(":")} | {"index"}
    assert str(page.relative_to(DOCS).with_suffix("")) in entries


def test_every_package_with_public_names_is_on_a_page_of_the_reference():
    packages = [found.name for found in pkgutil.walk_packages(sklar.__path__, "sklar.") if found.ispkg]
    public = {package for package in packages if getattr(importlib.import_module(package), "__all__", ())}
    assert public <= GENERATED


def test_every_name_of_the_package_itself_lives_in_a_module_of_the_reference():
    for public in sklar.__all__:
        if not public.startswith("_"):
            home = getattr(sklar, public).__module__
            assert any(home == module or home.startswith(f"{module}.") for module in GENERATED), public


@pytest.mark.parametrize("module", sorted(GENERATED))
def test_every_module_of_the_reference_exists(module: str):
    assert importlib.import_module(module).__doc__


@pytest.mark.parametrize("page", [page for page in PAGES if "```{run}" in page.read_text()], ids=name)
def test_what_runs_in_the_build_is_python(page: Path):
    for found in re.findall(r"^```\{run\}.*?\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        compile(re.sub(r"^:[a-z-]+:.*\n", "", found, flags=re.MULTILINE), name(page), "exec")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_public_name(tmp_path: Path):
    pytest.importorskip("sphinx", reason="the extra 'docs' is not installed")
    from sphinx.util.inventory import InventoryFile

    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    with (tmp_path / "objects.inv").open("rb") as file:
        known = InventoryFile.load(file, "", lambda base, path: path)
    names = {own for kind in known.values() for own in kind}
    for module in GENERATED:
        for public in getattr(importlib.import_module(module), "__all__", ()):
            if not public.startswith("_"):
                assert f"{module}.{public}" in names
    fetched = [
        (page.name, address)
        for page in tmp_path.rglob("*.html")
        for address in re.findall(
            r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"(https?:[^\"]+)", page.read_text()
        )
    ]
    assert not fetched  # nothing comes from elsewhere when a page is read
