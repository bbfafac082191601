"""Formulas as MathML, which browsers draw themselves: no script, and nothing fetched when a page is read."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def _convert(node: nodes.Element, block: bool) -> str:
    source = node.astext().replace(r"\dots", r"\ldots")  # of the two, docutils knows the latter
    try:
        return str(tex2mathml(source, as_block=block))
    except MathError as error:
        raise ExtensionError(f"{node.source}: the formula {source!r} is not understood: {error}") from error


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_convert(node, block=False))
    raise nodes.SkipNode


def _display(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{_convert(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Offer the renderer by its name."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
