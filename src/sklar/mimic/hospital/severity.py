"""How ill every simulated stay is, who dies, what is absent, and the best that can be predicted from it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklar.data.simulate import Outcome, bayes, complete, skip
from sklar.evaluation import auroc
from sklar.mimic.hospital.plan import ANCHOR, MODALITIES, HospitalPlan
from sklar.mimic.layout import Source

Floats = NDArray[np.float64]

LATENTS, LABELS, PRESENCE, HISTORY, CHART, IMAGES, TEXTS = range(7)
"""Streams of random numbers: what draws from one leaves the others as they are."""


@dataclass(frozen=True)
class Severity:
    """N stays, without anything that is written to a table.

    MIMIC-III has no images. In MIMIC-IV a text is the report of an image, so it is there only where the
    image is.

    Attributes:
        plan: What was asked for.
        latents: (N, 3) severities in the order of `MODALITIES`, standard normal each.
        died: (N,) whether the stay ends in death.
        drawn: (N, 3) what the mechanism left to each stay.
        outcome: How death arises from the severities.
    """

    plan: HospitalPlan
    latents: Floats
    died: NDArray[np.bool_]
    drawn: NDArray[np.bool_]
    outcome: Outcome

    def present(self, source: Source) -> NDArray[np.bool_]:
        """(N, 3) which modalities the tables of a source hold."""
        image, text = self.drawn[:, 1], self.drawn[:, 2]
        if source == "mimic-iii":
            image = np.zeros_like(image)
        else:
            text = text & image
        return np.stack([self.drawn[:, ANCHOR], image, text], axis=1)

    @cached_property
    def complete(self) -> Floats:
        """(N,) P(death | all severities), the ceiling."""
        return self._single(complete(self.outcome, self._torch))

    def bayes(self, source: Source) -> Floats:
        """(N,) P(death | what the tables of a source hold, and from which it is absent)."""
        present = self.present(source)
        rates = torch.tensor(self._rates).repeat(len(present), 1)
        # what is absent for another reason than the mechanism's says nothing, and certainty says nothing
        if source == "mimic-iii":
            rates[:, 1] = 1.0
        else:
            rates[torch.from_numpy(~present[:, 1]), 2] = 1.0
        return self._bayes(present, rates)

    def alone(self, name: str) -> Floats:
        """(N,) P(death | one severity)."""
        present = np.tile([own == name for own in MODALITIES], (len(self.died), 1))
        return self._bayes(present, torch.from_numpy(np.where(present, 0.0, 1.0)))

    def skip(self, source: Source) -> Floats:
        """(N,) the same prediction by one who infers nothing about what is absent."""
        return self._single(skip(self.outcome, self._torch, torch.from_numpy(self.present(source))))

    def auroc(self, score: Floats, rows: NDArray[np.bool_]) -> float:
        """AUROC of a prediction on chosen stays."""
        return auroc(self.died[rows].astype(np.int64), score[rows])

    @property
    def _torch(self) -> Tensor:
        return torch.from_numpy(self.latents).unsqueeze(-1)

    @property
    def _rates(self) -> list[float]:
        return [0.0 if index == ANCHOR else self.plan.missing for index in range(len(MODALITIES))]

    def _bayes(self, present: NDArray[np.bool_], rates: Tensor) -> Floats:
        plan = self.plan
        return self._single(
            bayes(
                plan.dependence, self.outcome, plan.missingness, self._torch, torch.from_numpy(present),
                rates, seed=plan.seed,
            ).probability
        )  # fmt: skip

    @staticmethod
    def _single(exceedance: Tensor) -> Floats:
        return np.asarray(exceedance[:, 0, 0])


def draw(plan: HospitalPlan, stays: int) -> Severity:
    """Severities, deaths and absences of ``stays`` stays."""
    dependence = plan.dependence
    latents = dependence.draw(stays, 1, _generator(plan, LATENTS))
    share = torch.tensor([[plan.prevalence]], dtype=torch.float64)
    outcome = Outcome.calibrated(
        dependence, torch.ones(len(MODALITIES), dtype=torch.float64), plan.signal, share
    )
    noise = torch.empty((stays, 1), dtype=torch.float64).normal_(generator=_generator(plan, LABELS))
    rates = [0.0 if index == ANCHOR else plan.missing for index in range(len(MODALITIES))]
    drawn = plan.missingness.draw(
        latents[..., 0],
        torch.tensor(rates, dtype=torch.float64).repeat(stays, 1),
        _generator(plan, PRESENCE),
    )
    died = outcome.draw(latents, noise).astype(bool)
    return Severity(plan, latents[..., 0].numpy(), died, drawn.numpy(), outcome)


def stream(plan: HospitalPlan, which: int, block: int = 0) -> np.random.Generator:
    """The generator of one stream, for one block of stays."""
    return np.random.default_rng([plan.seed, which, block])


def _generator(plan: HospitalPlan, which: int) -> torch.Generator:
    state = np.random.SeedSequence([plan.seed, which]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
