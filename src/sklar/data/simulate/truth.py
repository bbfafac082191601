"""Rows whose every hidden quantity is known: latents, labels, presence, and the best possible prediction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from sklar.data.simulate.dependence import Dependence
from sklar.data.simulate.missingness import Missingness
from sklar.data.simulate.outcome import Outcome
from sklar.data.simulate.posterior import bayes, complete, skip
from sklar.data.simulate.scenario import Scenario
from sklar.data.split import SPLITS
from sklar.evaluation import auroc

Floats = NDArray[np.float64]
Predictor = Literal["bayes", "skip", "complete"]
Where = Literal["all", "missing", "observed"]

PREDICTORS: tuple[Predictor, ...] = get_args(Predictor)

LATENTS, LABELS, PRESENCE, LOADINGS, INPUTS = range(5)
"""Streams of random numbers: what draws from one leaves the others as they are."""


@dataclass(frozen=True)
class Truth:
    """N rows of M modalities and L labels, without any inputs.

    Probabilities are shaped (N,) for one binary label, (N, L) for several, (N, C) for C classes.

    Attributes:
        scenario: What was asked for.
        dependence: Of the latents.
        outcome: How labels arise from them.
        missingness: How presence arises from them.
        latents: (N, M, r), of absent modalities as well.
        labels: (N,) 0 or 1, (N, L) of them, or (N,) class from 0.
        present: (N, M) which modalities each row has.
        split: (N,) train, valid or test.
        bayes: Best prediction from the inputs that a row has and from which they are.
        skip: Best prediction by one who leaves absent modalities out, and infers nothing about them.
        complete: Best prediction if nothing were missing.
        error: (N,) how exact ``bayes`` is: 0 in closed form, see `sklar.data.simulate.posterior.Exceedance`.
    """

    scenario: Scenario
    dependence: Dependence
    outcome: Outcome
    missingness: Missingness
    latents: Floats
    labels: NDArray[np.int64]
    present: NDArray[np.bool_]
    split: NDArray[np.str_]
    bayes: Floats
    skip: Floats
    complete: Floats
    error: Floats

    @property
    def severities(self) -> Floats:
        """(N, M) the first coordinate of every latent: what absence reads, and the first label."""
        return self.latents[:, :, 0]

    def rows(self, split: str | None = None, where: Where = "all") -> NDArray[np.bool_]:
        """(N,) whether a row is in a split (None: any), and lacks a modality or has all."""
        full = self.present.all(1)
        among = {"all": np.ones_like(full), "missing": ~full, "observed": full}[where]
        return np.asarray(among if split is None else among & (self.split == split), dtype=np.bool_)

    def auroc(
        self,
        predictor: Predictor = "bayes",
        split: str | None = "test",
        where: Where = "all",
        expected: bool = False,
    ) -> float:
        """AUROC of a reference predictor; the mean over labels, or over classes against the rest.

        Args:
            predictor: Which one.
            split: Rows to judge on; None is all.
            where: All of them, those that lack a modality, or those that have all.
            expected: False judges on the labels as drawn, which pairs the figure with a model's on the same
                rows. True averages over labels given inputs and presence, each row an event with its Bayes
                probability: free of the labels' noise, it is the population's value but for the rows drawn.

        Raises:
            ValueError: The rows hold one class only.
        """
        rows = self.rows(split, where)
        score = _columns(getattr(self, predictor)[rows])
        event = _columns(self.complete[rows]) if expected else self._indicators()[rows]
        both = np.repeat([1, 0], len(score))
        return float(
            np.mean(
                [
                    auroc(both, np.tile(own, 2), np.concatenate([happens, 1 - happens]))
                    for own, happens in zip(score.T, event.T, strict=True)
                ]
            )
        )

    def references(self, split: str | None = "test") -> dict[str, dict[str, float]]:
        """AUROC of every reference predictor, over all rows of a split and over those that lack a modality.

        Rows without both classes have no AUROC, and are left out.
        """
        both: tuple[Where, ...] = ("all", "missing")
        wheres = [where for where in both if self._judgeable(self.rows(split, where))]
        return {p: {where: self.auroc(p, split, where) for where in wheres} for p in PREDICTORS}

    def _judgeable(self, rows: NDArray[np.bool_]) -> bool:
        happened = self._indicators()[rows] == 1
        return bool((happened.any(0) & (~happened).any(0)).all())

    def _indicators(self) -> Floats:
        """(N, columns) labels in the shape of probabilities."""
        if self.scenario.classes > 2:
            return np.asarray(self.labels[:, None] == np.arange(self.scenario.classes), dtype=np.float64)
        return _columns(self.labels.astype(np.float64))


def draw(scenario: Scenario, progress: Callable[[str, float], None] | None = None) -> Truth:
    """Latents, labels and presence of a scenario, and what could be predicted from them.

    Args:
        scenario: What to draw.
        progress: Called with a stage and the fraction done.

    Raises:
        UserError: The family does not reach tau, or ``mar`` has nothing to read.
    """
    say = progress or (lambda _what, _done: None)
    say("latents", 0.0)
    dependence = Dependence(len(scenario.names), scenario.family, scenario.tau)
    missingness = Missingness(scenario.mechanism, scenario.slope, scenario.anchor)
    latents = dependence.draw(scenario.rows, scenario.rank, _generator(scenario.seed, LATENTS))
    outcome = Outcome.calibrated(
        dependence,
        torch.tensor(list(scenario.weights.values()), dtype=torch.float64),
        scenario.signal,
        torch.tensor(scenario.shares, dtype=torch.float64),
    )
    noise = torch.empty((scenario.rows, scenario.labels), dtype=torch.float64)
    noise.normal_(generator=_generator(scenario.seed, LABELS))
    split = _split(scenario)
    by_split = [[scenario.rate(name, test) for name in scenario.names] for test in (False, True)]
    rates = torch.tensor(by_split, dtype=torch.float64)[torch.from_numpy(split == SPLITS[2]).long()]
    present = missingness.draw(latents[..., 0], rates, _generator(scenario.seed, PRESENCE))
    say("Bayes predictor", 0.1)
    best = bayes(
        dependence, outcome, missingness, latents, present, rates, seed=scenario.seed,
        progress=lambda share: say("Bayes predictor", 0.1 + 0.9 * share),
    )  # fmt: skip
    return Truth(
        scenario,
        dependence,
        outcome,
        missingness,
        latents.numpy(),
        outcome.draw(latents, noise),
        present.numpy(),
        split,
        outcome.probabilities(best.probability),
        outcome.probabilities(skip(outcome, latents, present)),
        outcome.probabilities(complete(outcome, latents)),
        best.error.numpy(),
    )


def _split(scenario: Scenario) -> NDArray[np.str_]:
    """(N,) rows in the order of the splits: rows are exchangeable, so nothing needs a shuffle."""
    ends = np.rint(np.cumsum(scenario.fractions) * scenario.rows).astype(np.int64)
    return np.repeat(SPLITS, np.diff(ends, prepend=0))


def _generator(seed: int, stream: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _columns(values: Floats) -> Floats:
    return values.reshape(len(values), -1)
