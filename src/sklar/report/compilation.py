"""A page of sections under one banner: figures inline, no script, nothing fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sklar.report.formats import TextTable
from sklar.report.html import template


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        table: None for a section without one.
        figures: SVG texts by name.
        notes: Sentences under them.
    """

    title: str
    table: TextTable | None
    figures: Mapping[str, str]
    notes: Sequence[str]


def sections_page(title: str, banner: str, sections: Sequence[Section]) -> str:
    """The text of the page; the banner says what must be known of all of it."""
    return template("compilation.html").render(title=title, banner=banner, sections=sections)
