"""Names that come again in a stream, in eight bytes each."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sklar.runs.seen import Seen


@given(st.lists(st.lists(st.text(max_size=6), unique=True, min_size=1), max_size=12))
def test_what_came_before_is_known_and_nothing_else(pieces: list[list[str]]) -> None:
    seen, before = Seen(), set[str]()
    for piece in pieces:
        found = seen.again(pa.array(piece, pa.string()))
        assert found.tolist() == [name in before for name in piece]
        before |= set(piece)


def test_a_hundred_thousand_names_take_eight_bytes_each() -> None:
    seen = Seen()
    for start in range(0, 100_000, 500):
        assert not seen.again(pa.array(np.arange(start, start + 500).astype(str))).any()
    assert sum(own.nbytes for own in seen._sorted) == 800_000
    assert len(seen._sorted) < 10  # so that looking a name up stays quick
    assert seen.again(pa.array(["99999", "100000"])).tolist() == [True, False]
