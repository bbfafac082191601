"""The part of a prepared folder that one model is about: an outcome, some modalities, the matched rows."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from sklar.data.manifest import Count, Step
from sklar.data.split import SPLITS
from sklar.data.store import PreparedData
from sklar.data.tables import listed
from sklar.errors import DataError, UserError, nearest


class View(BaseModel):
    """What of a prepared folder a run reads.

    Attributes:
        task: The outcome, one of the folder's tasks; None is the schema's label.
        modalities: Which ones, in the order of the schema; None is all.
        matched: Only rows that have all of these modalities, the totally matched cohort, are in a split;
            the split of the others is called "unmatched".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str | None = None
    modalities: tuple[str, ...] | None = Field(default=None, min_length=1)
    matched: bool = False

    def of(self, data: PreparedData) -> PreparedData:
        """The folder as this view shows it; its arrays stay where they are.

        Counts and attrition are those of the view. Presence and statistics stay those of the whole folder:
        they describe a modality, not a task.

        Raises:
            UserError: The folder has no such task or modality.
            DataError: No row is left in a split.
        """
        if self == View():
            return data
        schema, index = data.schema, data.index
        names = self._names(data)
        label = self.task or schema.label
        if label not in data.tasks:
            raise UserError(
                f"no task {label!r} in {data.path}; it holds {', '.join(data.tasks)}"
                f"{nearest(label, data.tasks)}"
            )
        if label != schema.label:
            index = index.drop_columns(["label"]).rename_columns(
                ["label" if column == f"label_{label}" else column for column in index.column_names
                 if column != "label"]
            )  # fmt: skip
            index = index.append_column(f"label_{schema.label}", data.index["label"])
        steps = list(data.manifest.attrition)
        if self.matched:
            has = np.stack([data.present[:, data.modalities.index(name)] for name in names], 1).all(1)
            parts = pc.if_else(pa.array(has), index["split"], "unmatched")
            index = index.set_column(index.column_names.index("split"), "split", parts)
        part = np.asarray(index["split"].to_numpy(), dtype=np.str_)
        counts = {"all": _count(index.filter(pa.array(part != "unmatched")), names)}
        counts |= {own: _count(index.filter(pa.array(part == own)), names) for own in SPLITS}
        if self.matched:
            step = f"rows with all of {listed(names)}"
            steps.append(Step(step, counts["all"].subjects, counts["all"].events))
        if empty := [part for part in SPLITS if not counts[part].subjects]:
            raise DataError(
                f"{data.path}: no row of the {empty[0]} split has all of {listed(names)}. Train on all rows "
                "(data.matched=false), or on fewer modalities"
            )
        manifest = replace(
            data.manifest,
            schema=schema.model_copy(
                update={"label": label, "modalities": {name: schema.modalities[name] for name in names}}
            ),
            tasks=(label, *(task for task in data.tasks if task != label)) if data.manifest.tasks else (),
            counts=counts,
            presence={name: data.manifest.presence[name] for name in names},
            records={name: data.manifest.records[name] for name in names if name in data.manifest.records},
            statistics={name: own for name, own in data.manifest.statistics.items() if name in names},
            attrition=tuple(steps),
            risk={"complete_case": counts["all"].events / max(counts["all"].labelled, 1)}
            if label != schema.label or self.matched
            else data.manifest.risk,
        )
        return PreparedData(data.path, manifest, index)

    def _names(self, data: PreparedData) -> tuple[str, ...]:
        if self.modalities is None:
            return data.modalities
        for name in self.modalities:
            if name not in data.modalities:
                raise UserError(
                    f"no modality {name!r} in {data.path}; it holds {', '.join(data.modalities)}"
                    f"{nearest(name, data.modalities)}"
                )
        return tuple(name for name in data.modalities if name in self.modalities)


def _count(index: pa.Table, names: tuple[str, ...]) -> Count:
    label = index["label"].cast(pa.float64()).to_numpy()
    present = np.stack([index[f"present_{name}"].to_numpy() for name in names], 1)
    return Count(
        index.num_rows, int((~np.isnan(label)).sum()), int((label == 1).sum()), int((~present.any(1)).sum())
    )
