"""Sections of chest radiograph reports, as the published table of sections has them.

The rules restate mimic-code's parser (Johnson et al.), which the tri-modal experiments of CM² read their
reports through.
"""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

SECTIONS = ("impression", "findings", "last_paragraph", "comparison")
"""What is kept of a report, one document each, in this order."""

HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
"""A line that begins with one space and capital letters up to a colon."""

BLANK_LINE = "\n \n"


def sections(report: str) -> dict[str, str]:
    """The text of each of `SECTIONS`, stripped, empty where the report has none.

    Of several sections of one name the last counts. A report without impression and findings is divided at
    the first blank line of its last section: what follows is the last paragraph.
    """
    parts = [
        (name, text)
        for name, text in _parts(report)
        if name not in ("impression", "findings") or text.strip()
    ]
    names = {name for name, _ in parts}
    if parts and not names & {"impression", "findings"}:
        name, text = parts.pop()
        first, blank, rest = text.partition(BLANK_LINE)
        parts += [(name, first), ("last_paragraph", rest)] if blank else [(name, text)]
    found = dict(parts)  # of repeated names the last stays
    return {name: found.get(name, "").strip() for name in SECTIONS}


def picked_by_hand() -> frozenset[int]:
    """Studies that the published table of sections leaves out."""
    return frozenset(_tables()["picked_by_hand"])


def _parts(report: str) -> list[tuple[str, str]]:
    """Every section with its name, in order; "preamble" is what comes before the first header."""
    header = HEADER.search(report)
    if header is None:
        return [("full report", report)]
    parts = [("preamble", report[: header.start(1)])]
    while header is not None:
        # the rest of a header's own line is never a header
        line_end = max(report.find("\n", header.end()), header.end())
        following = HEADER.search(report, line_end)
        end = len(report) if following is None else following.start()
        parts.append((_named(header.group(1)), report[header.end() : end]))
        header = following
    return parts


def _named(header: str) -> str:
    """The section that a header stands for, or the header itself."""
    tables = _tables()
    name = header.lower().strip()
    if name in tables["by_spelling"]:
        return str(tables["by_spelling"][name])
    for section in tables["contained"]:
        if section in name:
            return str(section)
    return "findings" if any(view in name for view in tables["views"]) else name


@cache
def _tables() -> dict[str, Any]:
    tables = tomllib.loads(files("sklar.mimic.radiographs").joinpath("sections.toml").read_text("utf-8"))
    by_spelling = {text: section for section, spellings in tables["spellings"].items() for text in spellings}
    return {**tables, "by_spelling": by_spelling}
