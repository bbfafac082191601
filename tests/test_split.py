import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklar.data.split import split_by_group
from sklar.errors import DataError

group_names = st.lists(st.integers(0, 60).map(str), min_size=40, max_size=200).filter(
    lambda g: len(set(g)) > 25
)


@given(group_names, st.integers(0, 5))
def test_no_group_is_in_two_splits(groups, seed):
    groups = np.array(groups)
    split = split_by_group(groups, (0.6, 0.2, 0.2), seed)
    assert all(len(set(split[groups == name])) == 1 for name in set(groups))


@given(group_names, st.integers(0, 5), st.randoms())
def test_a_split_does_not_depend_on_the_order_of_rows(groups, seed, random):
    order = list(range(len(groups)))
    random.shuffle(order)
    groups = np.array(groups)
    split = split_by_group(groups, (0.6, 0.2, 0.2), seed)
    np.testing.assert_array_equal(split_by_group(groups[order], (0.6, 0.2, 0.2), seed), split[order])


def test_a_split_has_the_asked_shares():
    groups = np.repeat(np.arange(2000), 3).astype(str)
    split = split_by_group(groups, (0.7, 0.1, 0.2), 0)
    shares = [(split == name).mean() for name in ("train", "valid", "test")]
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=1 / 2000)  # one group


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match=r"'test'.*none of 2 groups"):
        split_by_group(np.array(["a", "b"]), (0.7, 0.1, 0.2), 0)
