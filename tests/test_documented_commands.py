"""Commands and settings that the documents name are those that there are."""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from sklar.cli import app
from sklar.models import MODELS
from sklar.training.config import resolve

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SKLAR: Any = typer.main.get_command(app)
SETTING = re.compile(r"\b((?:training|model|calibration)(?:\.[a-z_0-9]+)+)=")


def commands(page: Path) -> Iterator[list[str]]:
    """The words after ``sklar`` of every line that is a command, and of every one in backquotes."""
    text = re.sub(r"\\\n *", "", page.read_text())
    lines = re.findall(r"^ *(?:\.venv/bin/)?sklar (.*)$", text, re.MULTILINE)
    for line in [*lines, *re.findall(r"`sklar ([a-z][^`|]*)`", text.replace("\n", " "))]:
        yield shlex.split(re.split(r" #|  ", line)[0])


def wrong(words: list[str]) -> str:
    """The first word that the command line does not know; empty where it knows all."""
    command = SKLAR
    while (verbs := getattr(command, "commands", None)) and words and not words[0].startswith("-"):
        if words[0] not in verbs:
            return words[0]
        command, words = verbs[words[0]], words[1:]
    if verbs:
        return ""  # a family of commands, such as all of prepare
    known = {option for own in command.params for option in (*own.opts, *own.secondary_opts)} | {"--help"}
    return next((word for word in words if word.startswith("-") and word.split("=")[0] not in known), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_documents_exist_with_their_options(page: Path) -> None:
    assert [(bad, words) for words in commands(page) if (bad := wrong(words))] == []


def test_the_documents_are_full_of_commands() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 100
    assert wrong(["trian", "cm2"]) == "trian"
    assert wrong(["train", "cm2", "--dta", "x"]) == "--dta"
    assert wrong(["prepare", "nafld", "--out", "x"]) == ""


def test_models_are_trained_in_documents_with_settings_that_they_have() -> None:
    calls = [words for page in PAGES for words in commands(page) if words[0] == "train"]
    calls = [words for words in calls if words[1:2] and words[1] in MODELS]
    assert len(calls) > 10
    for words in calls:
        resolve(words[1], [after for word, after in pairwise(words) if word == "--set"])


def names(prefix: str, section: BaseModel) -> Iterator[str]:
    for name in type(section).model_fields:
        yield prefix + name
        if isinstance(own := getattr(section, name), BaseModel):
            yield from names(f"{prefix}{name}.", own)


def test_settings_in_documents_exist() -> None:
    there: set[str] = set()
    for model in MODELS:
        own = ["model.modality=x"] if model == "single" else []
        for kind in ([], ["model.encoders.text.pretrained=x"]):  # which has settings of its own
            there.update(names("", resolve(model, [*own, *kind])))
    named = {name for page in PAGES for name in SETTING.findall(page.read_text())}
    assert len(named) > 10
    assert named - there == set()
