"""What stands in for absent latents, as a graph: the methods of `sklar.alignment.IMPUTATIONS`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.alignment import CopulaAlignment, Imputed
from sklar.alignment.impute import MEAN_POINTS
from sklar.alignment.noise import fixed_points
from sklar.errors import UserError
from sklar.export.conditional import CONDITIONALS, Conditional, Independent
from sklar.export.mixture import Margin
from sklar.export.normal import normal_score
from sklar.models import CM2


class Completion(nn.Module, ABC):
    """Completes the latents of CM².

    Attributes:
        draws: Whether it reads the noise.
    """

    draws: bool

    @abstractmethod
    def forward(
        self,
        z: Mapping[str, Float[Tensor, "b d"]],
        present: Bool[Tensor, "b m"],
        noise: Float[Tensor, "s m d"],
    ) -> Imputed:
        """Latents of S draws, or of one where nothing is drawn."""


def completion(model: CM2) -> Completion:
    """How this model completes latents.

    Raises:
        UserError: Its copula family has no exportable inverse.
    """
    method = model.config.imputation
    if method in ("conditional", "mean"):
        family = model.alignment.family
        if family not in CONDITIONALS:
            raise UserError(
                f"the conditional quantile of the {family} copula is found by iteration, so the family has "
                f"no exportable inverse. Train with --set model.alignment.family=gaussian (or "
                f"{', '.join(sorted(CONDITIONALS.keys() - {'gaussian'}))}), or with another model.imputation"
            )
        conditional = CONDITIONALS[family](model.alignment.imputation_copula())
        return Drawn(model.alignment, conditional, mean=method == "mean")
    if method == "unconditional":
        return Drawn(model.alignment, None, mean=False)
    return Put(model, skipped=method == "skip")


@final
class Drawn(Completion):
    """Quantiles of the noise, given what is present or not.

    Args:
        joint: What is drawn from.
        conditional: Draws given what is present; None draws every modality on its own.
        mean: Put the mean over fixed points; the noise is not read.
    """

    points: Tensor
    factors: Tensor | None

    def __init__(self, joint: CopulaAlignment, conditional: Conditional | None, *, mean: bool) -> None:
        super().__init__()
        self.draws = not mean
        self.modalities = joint.modalities
        self.alone = conditional is None
        self.conditional = conditional or Independent(joint.imputation_copula())
        self.margins = nn.ModuleDict({name: Margin(joint, name) for name in joint.modalities})
        points = fixed_points(MEAN_POINTS, len(joint.modalities), joint.dim)
        points = normal_score(points.log(), torch.log1p(-points)).float()
        self.register_buffer("points", points if mean else None, persistent=False)
        self.register_buffer("factors", None if self.alone or mean else joint.noise_factors())

    def forward(self, z: Mapping[str, Tensor], present: Tensor, noise: Tensor) -> Imputed:
        margins = {name: cast(Margin, self.margins[name]) for name in self.modalities}
        score = torch.stack([margin.score(z[name], present) for name, margin in margins.items()], 1)
        scores, spread = self.conditional(score, present, self._noise(noise))
        latents, centres, spreads = {}, {}, {}
        for column, (name, margin) in enumerate(margins.items()):
            there = present[:, column : column + 1]
            drawn = margin.latent(scores[:, :, column], present)
            middle = drawn[-1] if self.draws else drawn.mean(0)
            if self.alone:
                middle = margin.mean(present)
            drawn = drawn[:-1] if self.draws else middle.unsqueeze(0)
            latents[name] = torch.where(there, z[name], drawn)
            centres[name] = torch.where(there, 0.0, middle)
            spreads[name] = torch.where(there, 0.0, spread[:, column])
        return Imputed(latents, centres, spreads, torch.ones_like(present))

    def _noise(self, uniform: Tensor) -> Tensor:
        """Normal scores; the centre is one more draw, of noise that is 0 everywhere."""
        if not self.draws:
            return self.points
        e = normal_score(uniform.log(), torch.log1p(-uniform))
        if self.factors is not None:
            e = (self.factors @ e.unsqueeze(3)).squeeze(3)
        return torch.cat([e, torch.zeros_like(e[:1])])


@final
class Put(Completion):
    """A vector per modality: a trained one, or zeros, which a fusion may also skip.

    Args:
        model: Whose trained vectors.
        skipped: The fusion does not read them.
    """

    vectors: Tensor

    def __init__(self, model: CM2, *, skipped: bool) -> None:
        super().__init__()
        self.draws = False
        self.skipped = skipped
        self.modalities = model.modalities
        zero = torch.zeros(len(model.modalities), model.alignment.dim)
        self.register_buffer("vectors", zero if model.learned is None else model.learned.detach().clone())

    def forward(self, z: Mapping[str, Tensor], present: Tensor, noise: Tensor) -> Imputed:
        latents, centres, spreads = {}, {}, {}
        for column, name in enumerate(self.modalities):
            there = present[:, column : column + 1]
            centres[name] = torch.where(there, 0.0, self.vectors[column])
            spreads[name] = torch.where(there, 0.0, torch.ones_like(z[name]))
            latents[name] = torch.where(there, z[name], self.vectors[column]).unsqueeze(0)
        return Imputed(latents, centres, spreads, present if self.skipped else torch.ones_like(present))
