"""Integrated gradients of a fusion model's predictions (Sundararajan, Taly and Yan 2017)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from sklar.errors import TrainingError
from sklar.models import FusionModel
from sklar.types import Batch, Documents, Image, Input, Series, Table

Field = tuple[str, str]
"""A modality and the name of a field of its input that is a number, or that scales what is none."""

TOLERANCE = 1e-3
"""By how much attributions may miss their sum before more points are taken."""
_POINTS, _MOST_POINTS = 32, 512
_ROWS = 64
"""Rows that pass through the model at once."""


@dataclass(frozen=True)
class Gradients:
    """What each input number contributes to the predictions of R rows.

    Attributes:
        fields: (R, ...) contributions, in the shape of each field.
        probability: (R,) prediction.
        baseline: (R,) prediction at the baseline.
        gap: (R,) by how much contributions miss the difference of the two.
    """

    fields: Mapping[Field, Float[Tensor, "r *shape"]]
    probability: Float[Tensor, " r"]
    baseline: Float[Tensor, " r"]
    gap: Float[Tensor, " r"]


def integrated_gradients(
    model: FusionModel,
    batch: Batch,
    special: Mapping[str, Tensor] | None = None,
    draws: int = 20,
    seed: int = 0,
    output: int = 0,
    tolerance: float = TOLERANCE,
) -> Gradients:
    r"""Attribute each row's predicted probability to the numbers that it was made from.

    .. math:: a_i = (x_i - x'_i) \int_0^1 \frac{\partial p}{\partial x_i}\bigl(x' + t (x - x')\bigr) dt,
              \qquad \sum_i a_i = p(x) - p(x')

    All modalities move together. At the baseline x' every measured value and pixel is zero, the training
    mean of a standardised one; every token is padding, the special ones excepted; every category is a gap.
    What was measured, and when, stays as it is. Absent modalities are imputed along the way, with the same
    noise everywhere, so that an observed value also gets credit for what it says of those.

    The integral is a Gauss-Legendre sum. Where contributions miss their sum by more than ``tolerance``, it is
    taken again with twice as many points, up to 512; ``gap`` tells what is left.

    Args:
        model: In evaluation mode.
        batch: R rows.
        special: Per text modality (R, N, L) true where a token is of the tokenizer, not of the text.
        draws: S, of the missing latents; the prediction is their mean.
        seed: Of the draws.
        output: Which of the model's outputs.
        tolerance: In units of probability.

    Raises:
        TrainingError: The model's slopes are not finite.

    Source: Sundararajan, Taly and Yan, ICML 2017, Eq. 1 and Proposition 1.
    """
    path = _Path(model, batch, _ends(batch, special or {}), draws, seed, output)
    everyone = torch.arange(len(batch), device=batch.present.device)
    # the backward pass of cuDNN's recurrent networks is for training only
    with torch.backends.cudnn.flags(enabled=False):
        baseline, probability = torch.cat([path.predictions(rows) for rows in _pieces(everyone, _ROWS)], 1)
        found = {field: torch.zeros_like(end) for field, (_, end) in path.ends.items()}
        gap = torch.full_like(probability, torch.inf)
        count = _POINTS
        while len(rows := (~(gap.abs() <= tolerance)).nonzero().squeeze(1)) and count <= _MOST_POINTS:
            for some in _pieces(rows, _ROWS):
                own = path.contributions(some, count)
                for field, value in own.items():
                    found[field][some] = value
                reached = torch.stack([value.flatten(1).sum(1) for value in own.values()]).sum(0)
                gap[some] = reached - (probability - baseline)[some]
            count *= 2
    if not bool(torch.isfinite(gap).all()):
        raise TrainingError(
            f"the slopes of the predictions of {int((~torch.isfinite(gap)).sum())} rows are not finite: the "
            "model may have diverged. Look at history.csv and train it again"
        )
    return Gradients(found, probability, baseline, gap)


@dataclass(frozen=True)
class _Path:
    """The straight lines from the baseline to the rows of a batch; arguments as in `integrated_gradients`.

    Attributes:
        ends: Per field where the lines begin and end, (R, ...) each.
    """

    model: FusionModel
    batch: Batch
    ends: Mapping[Field, tuple[Tensor, Tensor]]
    draws: int
    seed: int
    output: int

    @torch.no_grad()
    def predictions(self, rows: Tensor) -> Tensor:
        """(2, R) predictions at both ends."""
        both = torch.tensor([0.0, 1.0], device=self.batch.present.device)
        return self._predict(both, rows, self._at(both, rows))

    def contributions(self, rows: Tensor, count: int) -> dict[Field, Tensor]:
        """(R, ...) integrals of the slopes times the way, per field, by ``count`` points."""
        nodes, weights = (part.to(self.batch.present.device, torch.float32) for part in _rule(count))
        total = {field: torch.zeros_like(end[rows]) for field, (_, end) in self.ends.items()}
        size = max(1, _ROWS // len(rows))
        for points, weight in zip(_pieces(nodes, size), _pieces(weights, size), strict=True):
            fields = {field: own.detach().requires_grad_() for field, own in self._at(points, rows).items()}
            with torch.enable_grad():
                out = self._predict(points, rows, fields).sum()
                slopes = torch.autograd.grad(out, list(fields.values()), materialize_grads=True)
            for field, slope in zip(fields, slopes, strict=True):
                total[field] += (_like(weight, self.ends[field][0]) * slope).sum(0)
        return {field: total[field] * (end - start)[rows] for field, (start, end) in self.ends.items()}

    def _at(self, points: Tensor, rows: Tensor) -> dict[Field, Tensor]:
        """(P, R, ...) fields at points from 0 to 1."""
        return {
            field: start[rows] + _like(points, start) * (end - start)[rows]
            for field, (start, end) in self.ends.items()
        }

    def _predict(self, points: Tensor, rows: Tensor, fields: Mapping[Field, Tensor]) -> Tensor:
        """(P, R) predictions, with (P, R, ...) fields."""
        repeated = self.batch.rows(rows.repeat(len(points)))
        moved = _with(repeated, {field: value.flatten(0, 1) for field, value in fields.items()})
        drawn = self.model.predict_draws(moved, self.draws, Generator().manual_seed(self.seed))
        answers: Tensor = drawn.mean(0)[:, self.output].reshape(len(points), len(rows))
        return answers


@lru_cache(maxsize=8)
def _rule(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre quadrature on (0, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def _pieces(values: Tensor, size: int) -> list[Tensor]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _like(points: Tensor, field: Tensor) -> Tensor:
    """(P, 1, ...) points that broadcast over a (R, ...) field."""
    return points.view(-1, *[1] * field.ndim)


def _ends(batch: Batch, special: Mapping[str, Tensor]) -> dict[Field, tuple[Tensor, Tensor]]:
    """Where the path begins and ends, per field."""
    found: dict[Field, tuple[Tensor, Tensor]] = {}
    for name, item in batch.inputs.items():
        match item:
            case Series():
                measured = item.values.shape[2] if item.observed is None else item.observed.shape[2]
                start = item.values.clone()
                start[..., :measured] = 0
                found[name, "values"] = start, item.values
            case Image():
                found[name, "pixels"] = torch.zeros_like(item.pixels), item.pixels
            case Documents():
                end = item.attention.float()
                own = special.get(name)
                start = torch.zeros_like(end) if own is None else end * own
                found[name, "strength"] = start, end
            case Table():
                found[name, "numeric"] = torch.zeros_like(item.numeric), item.numeric
                end = (item.categories > 0).float()
                found[name, "strength"] = torch.zeros_like(end), end
    return found


def _with(batch: Batch, fields: Mapping[Field, Tensor]) -> Batch:
    inputs: dict[str, Input] = {}
    for name, item in batch.inputs.items():
        own = {field: value for (modality, field), value in fields.items() if modality == name}
        inputs[name] = replace(item, **own)  # type: ignore[arg-type]
    return replace(batch, inputs=inputs)
