"""Docstrings as Sphinx wants them: formulas between dollar signs get a role, what is not ours is left out."""

import re

from sphinx.application import Sphinx

_REQUEST = re.compile(r"set_\w+_request")
_FORMULA = re.compile(r"\$([^$`]+)\$")
_ARRAY_LIKE = re.compile(r"~?[\w.]*_Buffer\b.*?_NestedSequence\[complex \| bytes \| str\]")


def formulas(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """Give the formulas of a docstring their role; one that is broken over lines becomes one line."""
    text = _FORMULA.sub(lambda found: f":math:`{' '.join(found[1].split())}`", "\n".join(lines))
    lines[:] = text.split("\n")


def inherited(_app: Sphinx, _what: str, name: str, _obj: object, skip: bool, _options: object) -> bool | None:
    """Skip what scikit-learn writes into its estimators: its texts point into its own site."""
    return True if _REQUEST.fullmatch(name) else None


def short(
    _app: Sphinx,
    _what: str,
    _name: str,
    _object: object,
    _options: object,
    told: str | None,
    back: str | None,
) -> tuple[str | None, str | None]:
    """Call what numpy takes for an array by its name, not by its dozen kinds."""
    return _ARRAY_LIKE.sub("ArrayLike", told) if told else told, back


def setup(app: Sphinx) -> dict[str, bool]:
    """Before anything else reads them."""
    app.connect("autodoc-process-docstring", formulas, priority=100)
    app.connect("autodoc-process-signature", short)
    app.connect("autodoc-skip-member", inherited)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
