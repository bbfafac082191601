"""A smooth curve of the outcome over the predicted risk: local lines."""

from collections.abc import Callable

import numpy as np

from sklar.evaluation.checks import Floats, Labels

_SPAN = 0.75
"""Share of the rows that a local line sees; R's default for loess."""
_POINTS = 200
"""Most risks at which a line is fitted; between them the curve is linear."""


def smoother(labels: Labels, risk: Floats) -> Callable[[Floats], Floats]:
    r"""A map from (R, N) weights to (R, N) fitted values at the rows' own risks.

    At risk $g$ a weighted line is fitted to the rows, with tricube weights $(1 - (d / h)^3)^3$ of their
    distance $d$ and $h$ the distance of the nearest 75 %; that of the rows, whatever the weights. Where the
    rows there all have one risk, the line is their mean. Takes 24 bytes a row and point (at most 200 points).

    Source: Cleveland (1979), without the robustness steps.
    """
    points = np.unique(risk)
    if len(points) > _POINTS:
        points = np.unique(np.quantile(risk, np.linspace(0, 1, _POINTS)))
    offset = risk - points[:, None]
    distance = np.abs(offset)
    nearest = int(np.ceil(_SPAN * len(risk))) - 1
    reach = np.partition(distance, nearest, axis=1)[:, [nearest]]
    # no reach: most rows sit on the point itself, and only they count
    kernel = np.where(
        reach > 0,
        (1 - np.minimum(distance / np.where(reach > 0, reach, 1.0), 1) ** 3) ** 3,
        (distance == 0).astype(np.float64),
    ).T
    first, second = kernel * offset.T, kernel * np.square(offset.T)
    left = np.clip(np.searchsorted(points, risk, "right") - 1, 0, max(len(points) - 2, 0))
    right = np.minimum(left + 1, len(points) - 1)
    width = points[right] - points[left]
    share = np.where(width > 0, (risk - points[left]) / np.where(width > 0, width, 1.0), 0.0)

    def smooth(weights: Floats) -> Floats:
        event = weights[:, labels]
        w0, w1, w2 = weights @ kernel, weights @ first, weights @ second
        y0, y1 = event @ kernel[labels], event @ first[labels]
        spread = w2 * w0 - w1 * w1
        sloped = spread > 1e-12 * w2 * w0
        with np.errstate(invalid="ignore", divide="ignore"):
            fitted = np.where(sloped, (w2 * y0 - w1 * y1) / spread, y0 / w0)
        return np.asarray(fitted[:, left] * (1 - share) + fitted[:, right] * share)

    return smooth
