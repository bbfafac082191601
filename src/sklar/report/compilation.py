"""A page of sections under one banner: figures inline, no script, nothing fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, StrictUndefined

from sklar.report.formats import TextTable

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; color: #1d2733; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: .2rem .6rem; text-align: left; }
th, tr { border-bottom: 1px solid #d9dee4; } .banner { border: 2px solid #d55e00; padding: .6rem 1rem; }
li, .note { color: #6b7685; font-size: 13px; } svg { max-width: 100%; height: auto; }
</style></head><body>
<h1>{{ title }}</h1>
<p class="banner">{{ banner }}</p>
{% for shown in sections %}
<h2>{{ shown.title }}</h2>
{% if shown.table %}
<table><thead><tr>{% for text in shown.table.headings %}<th>{{ text }}</th>{% endfor %}</tr></thead><tbody>
{% for row in shown.table.rows %}<tr>{% for cell in row %}<td>{{ cell.text }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
<p class="note">{{ shown.table.note }}</p>
{% endif %}
{% for name, figure in shown.figures.items() %}<h3>{{ name }}</h3>{{ figure | safe }}{% endfor %}
<ul>{% for note in shown.notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endfor %}
</body></html>
"""


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
    environment = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    return environment.from_string(_PAGE).render(title=title, banner=banner, sections=sections)
