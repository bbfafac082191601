"""Lines over a handful of values, side by side."""

from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure

from sklar.report.figures.style import STYLE, looks, svg

Line = Mapping[int, float]
"""Values at whole numbers."""


def panels(content: Mapping[str, Mapping[str, Line]], over: str, name: str, text: str) -> str:
    """A panel for each title, with a marked line for each label, as SVG text.

    Args:
        content: Title to label to line; at most six labels, the same in every panel.
        over: What the lines run over.
        name: What the ids of the figure begin with.
        text: What the figure says, for readers who do not see it.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(content), 3.0))
        grid = figure.subplots(1, len(content), squeeze=False)[0]
        for axes, (title, lines) in zip(grid, content.items(), strict=True):
            # as many looks as there are colours
            for style, (label, line) in zip(looks(), lines.items(), strict=False):
                axes.plot(list(line), list(line.values()), marker="o", label=label, **style)
            axes.set(title=title, xlabel=over, xticks=sorted({x for line in lines.values() for x in line}))
        # below, where it hides no line
        figure.legend(*grid[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return svg(figure, name, text)
