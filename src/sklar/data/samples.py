"""Data sets that answer ``dataset[i]`` with a mapping (PyTorch, PyHealth) as one table."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from sklar.errors import DataError, UserError


class Samples(Protocol):
    """A data set whose samples are mappings, such as a map-style ``torch.utils.data.Dataset``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def samples_table(dataset: Samples, id: str = "sample") -> pa.Table:  # noqa: A002, as schemas call it
    """One row per sample and one column per key, for `sklar.data.wide` and `sklar.MultimodalClassifier`.

    Tensors and arrays become nested lists: a (T, V) array is a series, an (H, W) array of bytes an image.
    None is a modality that is missing. Samples are read one after the other, as any loader reads them.

    Args:
        dataset: With ``len`` and mappings as samples.
        id: Name of the column of row numbers; left out where samples have such a key.

    Raises:
        UserError: The samples are no mappings.
        DataError: There is no sample, or a key holds what a table cannot.
    """
    samples = [dataset[index] for index in range(len(dataset))]
    if not samples:
        raise DataError("the data set has no samples")
    if odd := [own for own in samples if not isinstance(own, Mapping)]:
        raise UserError(
            f"samples are {type(odd[0]).__name__}; a table needs a name per modality, so let them be "
            'mappings such as {"image": ..., "label": ...}'
        )
    names = list(dict.fromkeys(str(key) for own in samples for key in own))
    columns: dict[str, Any] = {} if id in names else {id: pa.array(np.arange(len(samples)))}
    for name in names:
        try:
            columns[name] = pa.array([_plain(own.get(name)) for own in samples], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"samples: {name!r} cannot be a column ({error}). Let it be a number, a text, bytes, an "
                "array or None, of one kind in all samples"
            ) from None
    return pa.table(columns)


def _plain(value: Any) -> Any:
    """Nested lists of anything that has axes; lists and mappings element by element."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return value
