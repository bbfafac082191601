"""Pictures shaped like chest radiographs, whose lungs grow opaque with severity."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]

QUALITY = 90
"""Of JPEG: its loss is small against the noise of the picture."""

OPACITY = 20.0
"""Grey levels per standard deviation of severity, where a lung shows it most."""


def draw_pictures(severity: Floats, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(N, H, W) pictures with W = 5/4 H: body, two lungs, ribs, spine and heart.

    Every picture has its own position, size of heart, exposure and noise, none of which severity moves. The
    opacity is spread evenly over the lower lungs, with a patch elsewhere in each picture.

    Args:
        severity: (N,) of each picture.
        height: H.
        rng: Of position, exposure and noise.
    """
    width = height * 5 // 4
    count = len(severity)

    def each(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (count, 1, 1))

    y = np.linspace(-1, 1, height)[None, :, None] - each(-0.05, 0.05)
    x = 1.25 * np.linspace(-1, 1, width)[None, None, :] - each(-0.05, 0.05)
    body = _soft(x, y, 0.0, 0.25, 1.05, 1.3, 20.0)
    lungs = _soft(x, y, -0.45, -0.1, 0.33, 0.68) + _soft(x, y, 0.45, -0.1, 0.33, 0.68)
    heart = _soft(x, y, 0.13, 0.3, each(0.28, 0.34), 0.3)
    spine = np.exp(-0.5 * (x / 0.1) ** 2) * body
    ribs = np.sin(14 * y + 2.5 * np.abs(x) + each(0, 6.28)) * lungs
    patch = _soft(x, y, 0.45 * np.sign(each(-1, 1)), each(-0.4, 0.3), 0.3, 0.35, 3.0) * lungs
    show = lungs * (0.35 + 0.4 / (1 + np.exp(-6 * (y - 0.05)))) + 0.5 * patch
    grey = 20 + 150 * body - 85 * lungs + 35 * heart + 25 * spine + 6 * ribs
    grey = grey + OPACITY * severity[:, None, None] * show
    grey = each(0.95, 1.05) * grey + each(-5, 5) + rng.normal(0, 6, (count, height, width))
    # a byte ends at 0 and 255
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """One picture as a grey JPEG."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _soft(
    x: Floats,
    y: Floats,
    across: Floats | float,
    down: Floats | float,
    wide: Floats | float,
    high: float,
    edge: float = 12.0,
) -> Floats:
    """An ellipse that is 1 inside and 0 outside, with a soft edge."""
    distance = np.sqrt(((x - across) / wide) ** 2 + ((y - down) / high) ** 2)
    return np.asarray(1 / (1 + np.exp(edge * (distance - 1))))
