"""Observation maps: from a modality's latent vector to something that looks like its kind of data, and back.

Every map can be inverted: what it adds to the latent (texture of a series, filler words) is kept out of the
directions that carry it. So inputs and latents say the same about the label, and the Bayes predictor given
the inputs is the one given the latents.
"""

from abc import ABC, abstractmethod
from itertools import product
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.signal import lfilter

from sklar.errors import UserError

Floats = NDArray[np.float64]
Inputs = NDArray[Any]
"""One entry per row along the first axis: floats (N, ...), pixels (N, C, H, W) uint8, or (N,) strings."""


class ObservationMap(ABC):
    """An invertible, randomised map of latent vectors.

    Attributes:
        kind: Key in `MAPS`.
        tolerance: Largest distance between a latent and what `recover` finds.
    """

    kind: ClassVar[str]
    tolerance: float

    @abstractmethod
    def observe(self, latent: Floats, rng: np.random.Generator) -> Inputs:
        """Inputs of (N, r) latents."""

    @abstractmethod
    def recover(self, inputs: Inputs) -> Floats:
        """(N, r) latents of inputs."""


@final
class SeriesMap(ObservationMap):
    r"""Levels of V variables over T steps: $x_t = \sqrt V A z + e_t - A A^T \bar e$.

    A (V, r) has orthonormal columns, e is an autoregressive texture (lag-one correlation .6, unit variance),
    and the average runs over the steps of the row that have a measurement. So $A^T\bar x / \sqrt V = z$.

    Args:
        rank: r.
        rng: Draws A.
        variables: V, at least r.
        steps: T.
        visits: Share of steps with a measurement of all variables; the last step always has one.
    """

    kind = "series"
    tolerance = 1e-9

    def __init__(
        self, rank: int, rng: np.random.Generator, variables: int, steps: int = 24, visits: float = 1.0
    ) -> None:
        self.loadings = orthonormal(variables, rank, rng)
        self.steps, self.visits = steps, visits

    def observe(self, latent: Floats, rng: np.random.Generator) -> Floats:
        variables, _ = self.loadings.shape
        shock = rng.normal(size=(len(latent), self.steps, variables))
        shock[:, 1:] *= 0.8  # sqrt(1 - .6^2): the texture keeps unit variance
        texture = lfilter([1.0], [1.0, -0.6], shock, axis=1)
        visited = rng.random((len(latent), self.steps)) < self.visits
        visited[:, -1] = True
        share = visited / visited.sum(1, keepdims=True)
        average = np.einsum("nt,ntv->nv", share, texture)
        level = (latent * variables**0.5 - average @ self.loadings) @ self.loadings.T
        return np.where(visited[:, :, None], level[:, None] + texture, np.nan)

    def recover(self, inputs: Inputs) -> Floats:
        return np.asarray(np.nanmean(inputs, axis=1) @ self.loadings / len(self.loadings) ** 0.5)


@final
class TableMap(ObservationMap):
    r"""P numeric columns: $x = \sqrt P A z + (I - A A^T) e$ with orthonormal A (P, r) and white e.

    Args:
        rank: r.
        rng: Draws A.
        columns: P, at least r.
    """

    kind = "table"
    tolerance = 1e-9

    def __init__(self, rank: int, rng: np.random.Generator, columns: int) -> None:
        self.loadings = orthonormal(columns, rank, rng)

    def observe(self, latent: Floats, rng: np.random.Generator) -> Floats:
        columns, _ = self.loadings.shape
        noise = rng.normal(size=(len(latent), columns))
        return np.asarray((latent * columns**0.5 - noise @ self.loadings) @ self.loadings.T + noise)

    def recover(self, inputs: Inputs) -> Floats:
        return np.asarray(inputs @ self.loadings / len(self.loadings) ** 0.5)


@final
class ImageMap(ObservationMap):
    r"""One channel of H x H grey levels: $128 + 15 \sum_j z_j b_j + 12 (I - B B^+) e$, rounded to bytes.

    The $b_j$ are r Gaussian blobs on a lattice, e is white noise. Rounding is the observation noise: it
    moves z by less than ``tolerance`` (six standard deviations of the rounding error, and more in the rare
    pixel that would leave 0 to 255); the label's probability hardly notices.

    Args:
        rank: r.
        size: H, at least 8 times the lattice's side.
    """

    kind = "image"

    def __init__(self, rank: int, size: int = 32) -> None:
        side = int(np.ceil(rank**0.5))
        centres = np.array(list(product((np.arange(side) + 0.5) / side * size - 0.5, repeat=2)))[:rank]
        pixels = np.array(list(product(range(size), repeat=2)))
        square = ((pixels[:, None] - centres) ** 2).sum(-1)
        self.size = size
        self.blobs: Floats = np.exp(-0.5 * square / (size / (6 * side)) ** 2)
        self.inverse: Floats = np.linalg.pinv(self.blobs)
        self.tolerance = float(6 * (1 / 12) ** 0.5 * np.linalg.norm(self.inverse, axis=1).max() / 15)

    def observe(self, latent: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
        noise = 12 * rng.normal(size=(len(latent), self.size**2))
        grey = 128 + noise + (15 * latent - noise @ self.inverse.T) @ self.blobs.T
        # bytes end at 0 and 255; a pixel gets there beyond about six standard deviations
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8).reshape(-1, 1, self.size, self.size)

    def recover(self, inputs: Inputs) -> Floats:
        return np.asarray((inputs.reshape(len(inputs), -1) - 128.0) @ self.inverse.T / 15)


PLACES = 5
LEVELS = 32
LOW, WIDTH = -8.0, 16.0
FILLERS = 40

SYLLABLES = tuple(map("".join, product("bdfghjklmnprstvz", "aeiou")))
WORDS = tuple(map("".join, product(SYLLABLES, repeat=2)))


@final
class TextMap(ObservationMap):
    """A document of made-up words in random order, which spell each coordinate in five digits to base 32.

    A word stands for one digit (0 to 31) of one place of one coordinate, counted from -8 in a range of 16:
    the word of the first place fixes z to half a unit, the next to 1/64, the fifth to 4.8e-7. So z is linear
    in which words occur. Among them are ``fillers`` words of 40 others that mean nothing.

    Args:
        rank: r, at most 39, for which there are words.
        fillers: Meaningless words per document.
    """

    kind = "text"
    tolerance = 0.5 * WIDTH / LEVELS**PLACES

    def __init__(self, rank: int, fillers: int = 8) -> None:
        self.rank, self.fillers = rank, fillers
        self.words = pa.array(WORDS[: rank * PLACES * LEVELS + FILLERS])

    def observe(self, latent: Floats, rng: np.random.Generator) -> NDArray[np.str_]:
        code = np.floor((latent - LOW) / WIDTH * LEVELS**PLACES).astype(np.int64)
        if (code < 0).any() or (code >= LEVELS**PLACES).any():
            raise UserError(
                f"a latent of {latent.flat[np.abs(latent).argmax()]:.3g}: text spells values between "
                f"{LOW:g} and {LOW + WIDTH:g} only, which a standard normal does not leave. Use another seed"
            )
        digits = code[:, :, None] // LEVELS ** np.arange(PLACES - 1, -1, -1) % LEVELS
        place = np.arange(self.rank * PLACES).reshape(self.rank, PLACES)
        said = (place * LEVELS + digits).reshape(len(latent), -1)
        filler = rng.integers(len(self.words) - FILLERS, len(self.words), (len(latent), self.fillers))
        word = rng.permuted(np.concatenate([said, filler], axis=1), axis=1)
        offsets = np.arange(len(word) + 1, dtype=np.int32) * word.shape[1]
        lists = pa.ListArray.from_arrays(pa.array(offsets), self.words.take(pa.array(word.ravel())))
        return np.asarray(pc.binary_join(lists, " ").to_numpy(zero_copy_only=False), dtype=np.str_)

    def recover(self, inputs: Inputs) -> Floats:
        lists = pc.split_pattern(pa.array(inputs, pa.string()), " ")
        index = pc.index_in(lists.flatten(), value_set=self.words).to_numpy(zero_copy_only=False)
        # in order of the words, which is that of coordinate and place; fillers come last
        said = np.sort(index.reshape(len(inputs), -1), axis=1)[:, : self.rank * PLACES]
        digits = (said % LEVELS).reshape(-1, self.rank, PLACES)
        code = (digits * LEVELS ** np.arange(PLACES - 1, -1, -1)).sum(-1)
        return np.asarray(LOW + (code + 0.5) * WIDTH / LEVELS**PLACES)


MAPS: dict[str, type[ObservationMap]] = {item.kind: item for item in (SeriesMap, ImageMap, TextMap, TableMap)}
"""The map of each kind of modality."""


def orthonormal(size: int, rank: int, rng: np.random.Generator) -> Floats:
    """(size, rank) matrix with orthonormal columns."""
    return np.asarray(np.linalg.qr(rng.normal(size=(size, rank)))[0])
