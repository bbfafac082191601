"""Draw one contour picture per copula family into docs/copulas/pictures.

Density of two standard normal margins coupled by the family, from the library itself. The files are the same
to the byte for the same versions of torch and matplotlib.

    python docs/copulas/build.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from sklar.copulas import FAMILIES, Copula
from sklar.special import log_ndtr_both, log_normal_density

TAU = 0.5  # of the pictures, or three quarters of what the family reaches
LEVELS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2)
REACH, POINTS = 3.0, 81
SETTINGS = {"svg.hashsalt": "sklar", "svg.fonttype": "path", "path.simplify_threshold": 0.3, "font.size": 8}


def pictured(family: str) -> Copula:
    """The member in the picture."""
    kind = FAMILIES[family]
    return kind.from_tau(torch.tensor(min(TAU, 0.75 * kind.tau_range[1]), dtype=torch.float64), 2)


def density(copula: Copula) -> tuple[torch.Tensor, torch.Tensor]:
    """A grid of normal scores, and the joint density of normal margins on it."""
    scores = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(scores, scores, indexing="xy"), dim=-1)
    value = copula.log_density(*log_ndtr_both(grid)) + log_normal_density(grid).sum(-1)
    return scores, value.exp()


def draw(family: str, folder: Path) -> Path:
    """Write the family's picture and return its path."""
    copula = pictured(family)
    scores, value = density(copula)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(2.6, 2.6), layout="constrained")
        axes = figure.add_subplot(aspect="equal")
        axes.contour(scores, scores, value, levels=LEVELS, colors="#1f4e79", linewidths=0.9)
        axes.plot([-REACH, REACH], [-REACH, REACH], color="#bbbbbb", linewidth=0.5, zorder=0)
        named = ", ".join(
            f"{name} = {float(part):.3g}" if part.ndim == 0 else f"rho = {float(part[0, 1]):.3g}"
            for name, part in copula.parameters().items()
        )
        axes.set_title(f"{family}: {named}" if named else family, fontsize=8)
        axes.set_xticks([-2, 0, 2])
        axes.set_yticks([-2, 0, 2])
        axes.set_xlabel("normal score of u")
        axes.set_ylabel("normal score of v")
        path = folder / f"{family}.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def build(folder: Path) -> list[Path]:
    """All pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    return [draw(family, folder) for family in FAMILIES]


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
