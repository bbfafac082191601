"""Docstrings write inline formulas between dollar signs, as pages do; Sphinx has a role for them."""

import re

from sphinx.application import Sphinx

_FORMULA = re.compile(r"\$([^$`]+)\$")


def formulas(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """Give the formulas of a docstring their role; one that is broken over lines becomes one line."""
    text = _FORMULA.sub(lambda found: f":math:`{' '.join(found[1].split())}`", "\n".join(lines))
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Before anything else reads them."""
    app.connect("autodoc-process-docstring", formulas, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
