"""Known truth behind inputs that look like series, images, texts and tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklar.data.simulate.observation import ImageMap, Inputs, ObservationMap, SeriesMap, TableMap, TextMap
from sklar.data.simulate.scenario import Scenario
from sklar.data.simulate.truth import INPUTS, LOADINGS, Truth, draw


@dataclass(frozen=True)
class Simulation:
    """Simulated rows with their inputs.

    Attributes:
        truth: Latents, labels, presence, split and reference predictions.
        inputs: Per modality one entry per row: series (N, T, V) with NaN at steps without a measurement,
            images (N, 1, H, W) uint8, texts (N,) strings, tables (N, P). Rows that lack the modality have
            content too, so that an imputation can be judged; a model must not read it.
        maps: Per modality the map from latents to inputs, and its inverse.
    """

    truth: Truth
    inputs: Mapping[str, Inputs]
    maps: Mapping[str, ObservationMap]

    @property
    def ids(self) -> NDArray[np.str_]:
        """(N,) row names."""
        return np.char.add("r", np.char.zfill(np.arange(len(self.truth.split)).astype(str), 7))

    def recovered(self, name: str) -> NDArray[np.float64]:
        """(N, r) latents found in the inputs of a modality."""
        return self.maps[name].recover(self.inputs[name])


def simulate(scenario: Scenario, progress: Callable[[str, float], None] | None = None) -> Simulation:
    """Draw a scenario in memory.

    Example:
        >>> done = simulate(Scenario(rows=500, modalities=("series", "table"), tau=0.7))
        >>> done.inputs["series"].shape, done.truth.bayes.shape
        ((500, 24, 6), (500,))

    Args:
        scenario: What to draw.
        progress: Called with a stage and the fraction done.

    Raises:
        UserError: The scenario cannot be drawn; see `sklar.data.simulate.truth.draw`.
    """
    say = progress or (lambda _what, _done: None)
    truth = draw(scenario, lambda what, done: say(what, 0.8 * done))
    maps, inputs = {}, {}
    for index, name in enumerate(scenario.names):
        say(f"inputs of {name}", 0.8 + 0.2 * index / len(scenario.names))
        maps[name] = _map(
            scenario, scenario.kinds[name], np.random.default_rng([scenario.seed, LOADINGS, index])
        )
        rng = np.random.default_rng([scenario.seed, INPUTS, index])
        inputs[name] = maps[name].observe(truth.latents[:, index], rng)
    say("done", 1.0)
    return Simulation(truth, inputs, maps)


def _map(scenario: Scenario, kind: str, rng: np.random.Generator) -> ObservationMap:
    enough = max(6, scenario.rank + 2)
    if kind == SeriesMap.kind:
        return SeriesMap(scenario.rank, rng, scenario.variables or enough, scenario.steps, scenario.visits)
    if kind == TableMap.kind:
        return TableMap(scenario.rank, rng, scenario.columns or enough)
    return ImageMap(scenario.rank, scenario.image_size) if kind == ImageMap.kind else TextMap(scenario.rank)
