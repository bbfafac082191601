"""Which names were there before, in eight bytes each."""

from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

PRIME, START = np.uint64(0x100000001B3), np.uint64(0xCBF29CE484222325)
"""Of the hash FNV-1a (Fowler, Noll & Vo) for 64 bits."""


@final
class Seen:
    """Names of any number of rows, as 64-bit hashes in sorted arrays, each at least twice the next.

    Two of N different names share a hash with probability N^2 / 2^65: for ten million 3e-6.
    """

    def __init__(self) -> None:
        self._sorted: list[NDArray[np.uint64]] = []

    def again(self, names: pa.Array) -> NDArray[np.bool_]:
        """(n,) which of these distinct names an earlier call had; they are remembered."""
        own = _hashes(names)
        found = np.zeros(len(own), dtype=bool)
        for known in self._sorted:
            place = np.minimum(np.searchsorted(known, own), len(known) - 1)
            found |= known[place] == own
        self._sorted.append(np.sort(own))
        while len(self._sorted) > 1 and len(self._sorted[-2]) < 2 * len(self._sorted[-1]):
            last = self._sorted.pop()
            self._sorted[-1] = np.sort(np.concatenate([self._sorted[-1], last]))
        return found


def _hashes(names: pa.Array) -> NDArray[np.uint64]:
    """(n,) FNV-1a of every name, begun with its length so that padding does not matter."""
    texts = np.array(names.cast(pa.binary()).to_pylist(), dtype=np.bytes_)
    length = pc.binary_length(names).to_numpy(zero_copy_only=False)
    letters = texts.view(np.uint8).reshape(len(texts), -1).astype(np.uint64)
    out = (START ^ length.astype(np.uint64)) * PRIME
    for place in range(letters.shape[1]):
        out = np.where(place < length, (out ^ letters[:, place]) * PRIME, out)
    return np.asarray(out)
