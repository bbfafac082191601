"""What all figures share: colours, type, and how they become SVG text for a page."""

import io
import re
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK, FAINT, RULE = "#1d2733", "#6b7685", "#d9dee4"
ACCENT = "#0072b2"
"""Of the reference model. With PALETTE from Okabe and Ito (2008), told apart by colour-blind readers."""
PALETTE = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
VARIABLES = dict(
    zip(
        (INK, FAINT, RULE, ACCENT, *PALETTE),
        ("ink", "soft", "rule", "accent", *(f"line-{i}" for i in range(1, len(PALETTE) + 1))),
        strict=True,
    )
)
"""Style variable that a page may set for each colour, such as in a dark scheme."""
COLUMN = 3.9
"""Width of a figure in inches, which a phone shows without making its type too small to read."""
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (2.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (1, 1)))
STYLE: Any = {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.hspace": 0.08,
    "figure.constrained_layout.wspace": 0.06,
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def looks() -> list[dict[str, Any]]:
    """Colour and dash of each line; the first, the reference's, is solid, heavy and on top."""
    colours = (ACCENT, *PALETTE)
    return [
        {
            "color": colour,
            "linestyle": _DASHES[i % len(_DASHES)],
            "linewidth": 2.2 if i == 0 else 1.3,
            "zorder": 4 if i == 0 else 3,
        }
        for i, colour in enumerate(colours)
    ]


def svg(figure: Figure, name: str, text: str) -> str:
    """The figure as an ``svg`` element that can be set inside a page.

    Args:
        figure: What to draw.
        name: Ids start with it, so that figures share a page.
        text: What a reader who cannot see the figure is told.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"\s*<style[^>]*>.*?</style>\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawn)
    drawn = drawn.replace("xlink:href=", "href=")
    drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
    drawn = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(r"(font: (?:[\w.%]+ )*?[\d.]+px) [^;\"]+", rf"\1 {_FONT}", drawn)
    for colour, variable in VARIABLES.items():
        drawn = drawn.replace(f": {colour}", f": var(--{variable}, {colour})")
    points = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', drawn)
    width = float(points.group(1)) if points else 400.0
    drawn = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", drawn, count=1)
    label = escape(text, quote=True)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{label}" style="max-width: {width:.0f}pt"', 1)
