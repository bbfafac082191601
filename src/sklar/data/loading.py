"""Batches from a prepared folder: a batch is one array index per modality, never a loop over rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from sklar import types
from sklar.data.pixels import epoch_uniforms, to_pixels
from sklar.data.schema import GriddedSeries, Image, Tabular, TimeSeries
from sklar.data.source import DataSource, observed_cells
from sklar.data.store import PreparedData
from sklar.data.tables import listed
from sklar.errors import UserError
from sklar.types import Batch, Documents, Encoding, Input, Series, Table

Tokens = tuple[NDArray[np.integer[Any]], NDArray[np.bool_]]
"""Token ids (N_present, D, L) and where a token exists (N_present, D, L), in the order of the index."""


Encodings = Mapping[str, NDArray[np.float32]]
"""What frozen encoders make of modalities: (N_present, *shape), in the order of the index."""


class PreparedDataset(Dataset[Batch]):
    """Rows of a prepared folder, or of a cohort in memory, as batches.

    Raw arrays stay where they are, mapped from disk, and are preprocessed per batch.

    Index it with a list of positions among its own rows. Absent modalities have zero content.

    Args:
        data: The opened folder, or the cohort.
        rows: A split ("train", "valid", "test") of a folder, (R,) positions in the index, or None for all.
        documents: Token ids and mask of every text modality.
        censoring: "ipcw" puts the folder's weights on the rows, "complete" weighs them all 1.
        augment: Seed of the changes of training pictures, together with the epoch that `set_epoch` chose
            and the row; None leaves pictures as they are.
        factor: (N,) what multiplies the weight of each row of the index; None is one.
        encodings: Read for these modalities instead of their content.

    Raises:
        UserError: A text modality has no tokens, or tokens of another number of rows.
    """

    def __init__(
        self,
        data: DataSource,
        rows: str | NDArray[np.integer[Any]] | None = None,
        documents: Mapping[str, Tokens] | None = None,
        censoring: Literal["complete", "ipcw"] = "complete",
        augment: int | None = None,
        factor: NDArray[np.float64] | None = None,
        encodings: Encodings | None = None,
    ):
        if censoring not in ("complete", "ipcw"):
            raise UserError(f"censoring {censoring!r}: choose 'complete' (all weights 1) or 'ipcw'")
        self.data = data
        self.rows = _chosen(data, rows)
        self.documents = _checked_tokens(data, documents or {})
        self.censoring = censoring
        self.augment = augment
        self.factor = factor
        self.encodings = encodings or {}
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the changes of ``epoch`` for the pictures of the next batches."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        """A batch of one row."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Batch:
        """The batch of the given positions among this dataset's rows."""
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        weight = self.data.weight[rows] if self.censoring == "ipcw" else np.ones(len(rows))
        weight = weight if self.factor is None else weight * self.factor[rows]
        return Batch(
            inputs={name: self.item(name, rows) for name in self.data.modalities},
            present=_tensor(self.data.present[rows]),
            target=_tensor(self.data.target[rows].astype(np.float32)),
            ids=_tensor(rows),
            groups=_tensor(self.data.group_codes[rows]),
            weight=_tensor(weight.astype(np.float32)),
        )

    def item(self, name: str, rows: NDArray[np.int64]) -> Input:
        """One modality of rows of the index."""
        place = self.data.positions[rows, self.data.modalities.index(name)]
        has = place >= 0
        if name in self.encodings:
            return self._encoding(name, place, has)
        spec = self.data.schema.modalities[name]
        if isinstance(spec, TimeSeries):
            return self._series(name, spec, place, has)
        if isinstance(spec, GriddedSeries):
            return self._grid(name, spec, place, has)
        if isinstance(spec, Tabular):
            return self._table(name, place, has)
        if isinstance(spec, Image):
            return self._image(name, spec, rows, place, has)
        ids, attention = self.documents[name]
        tokens = _spread(ids[place[has]].astype(np.int64), has)
        mask = _spread(attention[place[has]], has)
        return Documents(tokens, mask, mask.any(-1), self._document_times(name, place, has))

    def _encoding(self, name: str, place: NDArray[np.int64], has: NDArray[np.bool_]) -> Encoding:
        x = _spread(self.encodings[name][place[has]], has)
        if name not in self.documents:
            return Encoding(x, None, self._picture_times(name, place, has))
        valid = _spread(np.asarray(self.documents[name][1][place[has]].any(-1)), has)
        return Encoding(x, valid, self._document_times(name, place, has))

    def _document_times(
        self, name: str, place: NDArray[np.int64], has: NDArray[np.bool_]
    ) -> torch.Tensor | None:
        times = self.data.document_times(name)
        count = self.documents[name][0].shape[1]
        return None if times is None else _spread(times[place[has], :count], has)

    def _picture_times(
        self, name: str, place: NDArray[np.int64], has: NDArray[np.bool_]
    ) -> torch.Tensor | None:
        times = self.data.picture_times(name)
        return None if times is None else _spread(times[place[has], None], has)

    def _series(
        self, name: str, spec: TimeSeries, place: NDArray[np.int64], has: NDArray[np.bool_]
    ) -> Series:
        ready = self.data.preprocessor.series(name, self.data.raw_series(name)[place[has]])
        times = torch.from_numpy(spec.times.astype(np.float32)).repeat(len(has), 1)
        valid = torch.ones(times.shape, dtype=torch.bool)
        return Series(_spread(ready.values, has), valid, _spread(ready.observed, has), times)

    def _grid(
        self, name: str, spec: GriddedSeries, place: NDArray[np.int64], has: NDArray[np.bool_]
    ) -> Series:
        values = np.asarray(self.data.ready_grid(name)[place[has]])
        times = torch.from_numpy(spec.times.astype(np.float32)).repeat(len(has), 1)
        valid = torch.ones(times.shape, dtype=torch.bool)
        return Series(_spread(values, has), valid, _spread(observed_cells(spec, values), has), times)

    def _image(
        self,
        name: str,
        spec: Image,
        rows: NDArray[np.int64],
        place: NDArray[np.int64],
        has: NDArray[np.bool_],
    ) -> types.Image:
        uniforms = None if self.augment is None else epoch_uniforms(self.augment, self.epoch, rows[has])
        stored = torch.from_numpy(self.data.pictures(name)[place[has]])
        pixels = torch.zeros((len(has), spec.channels, *spec.shape))
        pixels[torch.from_numpy(has)] = to_pixels(stored, spec, uniforms)
        return types.Image(pixels, self._picture_times(name, place, has))

    def _table(self, name: str, place: NDArray[np.int64], has: NDArray[np.bool_]) -> Table:
        ready = self.data.ready_table(name)
        chosen = place[has]
        return Table(
            _spread(ready.numeric[chosen], has),
            _spread(ready.observed[chosen], has),
            _spread(ready.categories[chosen], has),
        )


class EpochBatches(Sampler[list[int]]):
    """Batches of positions whose order is a function of (seed, epoch) and nothing else.

    A run that resumes at epoch e sees what an uninterrupted one would have seen. A last batch of a single
    row, on which batch statistics are undefined, joins the batch before it when there is one.

    Of W processes that train together, process r gets rows r, r + W, r + 2 W, ... of every batch: the batches
    are those of a single process, except that a last one of fewer than 2 W rows joins the one before. Where a
    batch has no row for a process, the process gets the batch's first: who evaluates counts each row once.

    Args:
        rows: Number of rows.
        size: Rows of a batch, of all processes together.
        seed: Seed of the order.
        shuffle: False keeps the order of the rows.
        drop_last: True leaves out the last batch when it is smaller than ``size``.
        dataset: Is told the epoch too.
        share: (r, W), this process among all.

    Raises:
        UserError: No row, a size below 1 or that leaves a process of several fewer than two rows, or fewer
            rows than one batch with ``drop_last``.
    """

    def __init__(
        self,
        rows: int,
        size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        dataset: PreparedDataset | None = None,
        share: tuple[int, int] = (0, 1),
    ):
        if rows < 1 or size < 1:
            raise UserError(f"batches of {size} from {rows} rows: both must be at least 1")
        if share[1] > 1 and size < 2 * share[1]:
            raise UserError(
                f"batches of {size} rows for {share[1]} processes: each needs two rows. Raise "
                "training.batch_size, which counts the rows of all processes, or lower training.devices"
            )
        if drop_last and rows < size:
            raise UserError(f"drop_last with {rows} rows leaves no batch of {size}; use a smaller batch")
        self.rows = rows
        self.size = size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.dataset = dataset
        self.share = share
        self.epoch = 0

    @property
    def sampler(self) -> "EpochBatches":
        """Itself: Lightning calls ``batch_sampler.sampler.set_epoch`` before every epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch`` for the next iteration."""
        self.epoch = epoch
        if self.dataset is not None:
            self.dataset.set_epoch(epoch)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(rows,) positions in the order of an epoch."""
        if not self.shuffle:
            return np.arange(self.rows)
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(self.epoch)
        first, step = self.share
        for start, stop in self._cuts():
            batch = order[start:stop]
            yield (batch[first::step] if first < len(batch) else batch[:1]).tolist()

    def __len__(self) -> int:
        return len(self._cuts())

    def _cuts(self) -> list[tuple[int, int]]:
        starts = list(range(0, self.rows, self.size))
        last = self.rows - starts[-1]
        if self.drop_last and last < self.size:
            return [(start, start + self.size) for start in starts[:-1]]
        if last < min(2 * self.share[1], self.size) and len(starts) > 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], self.rows], strict=True))


def loader(
    dataset: PreparedDataset,
    batch_size: int,
    *,
    seed: int = 0,
    shuffle: bool = False,
    drop_last: bool = False,
    num_workers: int = 0,
    pin_memory: bool = False,
    share: tuple[int, int] = (0, 1),
) -> DataLoader[Batch]:
    """A torch DataLoader that yields batches.

    Args:
        dataset: The rows.
        batch_size: Rows of a batch.
        seed: Seed of the order, with the epoch that ``loader.batch_sampler.set_epoch`` chose.
        shuffle: True for training.
        drop_last: Leave out a smaller last batch.
        num_workers: Worker processes; reading is cheap enough for none.
        pin_memory: Page-locked memory, for copies to a GPU.
        share: See `EpochBatches`.
    """
    batches = EpochBatches(len(dataset), batch_size, seed, shuffle, drop_last, dataset, share)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        # of its own: an iterator draws a seed when it is made, which must not move the model's random state
        generator=torch.Generator(),
        collate_fn=_identity,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )


def _chosen(data: DataSource, rows: str | NDArray[np.integer[Any]] | None) -> NDArray[np.int64]:
    if rows is None:
        return np.arange(len(data.ids))
    if not isinstance(rows, str):
        return np.asarray(rows, dtype=np.int64)
    if isinstance(data, PreparedData):
        return data.rows(rows)
    raise UserError(
        f"split {rows!r}: only a prepared folder has splits; pass positions, or None for all rows"
    )


def _checked_tokens(data: DataSource, documents: Mapping[str, Tokens]) -> dict[str, Tokens]:
    if extra := [name for name in documents if name not in data.schema.texts]:
        raise UserError(
            f"tokens for {extra[0]!r}, which is no text modality (texts: "
            f"{listed(data.schema.texts) or 'none'})"
        )
    for name in data.schema.texts:
        if name not in documents:
            raise UserError(
                f"text modality {name!r} needs token ids: pass documents={{{name!r}: (ids, attention)}} "
                "with one row per present row, made by the model's tokenizer"
            )
        ids, attention = documents[name]
        rows = int(data.present[:, data.modalities.index(name)].sum())
        if ids.ndim != 3 or ids.shape != attention.shape or len(ids) != rows:
            raise UserError(
                f"tokens of {name!r}: ids {ids.shape} and attention {attention.shape} must both be (rows "
                f"with this modality = {rows}, documents, length)"
            )
    return dict(documents)


def _spread(content: NDArray[Any], has: NDArray[np.bool_]) -> torch.Tensor:
    """(B, ...) the content on the rows that have it, zeros elsewhere."""
    if has.all():
        return _tensor(content)
    out = np.zeros((len(has), *content.shape[1:]), dtype=content.dtype)
    out[has] = content
    return _tensor(out)


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    # torch aligns its memory as its kernels like it; on numpy's, equal numbers may add up in another order
    return torch.from_numpy(array).clone()


def _identity(batch: Any) -> Any:
    return batch
