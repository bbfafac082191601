"""How often modalities are present together."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sklar.report.figures.style import ACCENT, INK, RULE, STYLE, svg
from sklar.report.tables import Pattern


def presence(patterns: Sequence[Pattern], modalities: Sequence[str]) -> str:
    """How often each pattern of present modalities occurs among the test rows, most frequent first."""
    with mpl.rc_context(STYLE):
        width = 1.4 + 0.42 * max(len(patterns), 5)
        figure = Figure(figsize=(width, 1.9 + 0.28 * len(modalities)))
        bars, dots = figure.subplots(2, 1, sharex=True, height_ratios=(4, 0.8 * len(modalities)))
        total = sum(pattern.rows for pattern in patterns)
        at = np.arange(len(patterns))
        bars.bar(at, [pattern.rows for pattern in patterns], width=0.62, color=ACCENT)
        for x, pattern in zip(at, patterns, strict=True):
            share = f"{pattern.rows / total:.0%}" if pattern.rows / total >= 0.01 else "<1%"
            bars.annotate(share, (x, pattern.rows), (0, 3), ha="center", fontsize=8,
                          textcoords="offset points")  # fmt: skip
        bars.set(ylabel="Test rows")
        bars.margins(y=0.15)
        bars.tick_params(axis="x", length=0)
        rank = {name: len(modalities) - 1 - i for i, name in enumerate(modalities)}
        for x, pattern in zip(at, patterns, strict=True):
            seen = sorted(rank[name] for name in pattern.present)
            if seen:
                dots.plot([x, x], [seen[0], seen[-1]], color=INK, linewidth=1.4, zorder=1)
            for y in rank.values():
                dots.scatter(x, y, s=46, color=INK if y in seen else RULE, zorder=2)
        dots.set_yticks(list(rank.values()), list(rank))
        dots.set(xticks=[], xlim=(-0.6, max(len(patterns), 3) - 0.4), ylim=(-0.6, len(modalities) - 0.4))
        for side in ("left", "bottom"):
            dots.spines[side].set_visible(False)
        dots.tick_params(axis="y", length=0)
        told = "; ".join(f"{' + '.join(p.present) or 'nothing'} {p.rows / total:.0%}" for p in patterns)
        return svg(figure, "presence", f"Patterns of present modalities, as shares of test rows: {told}")
