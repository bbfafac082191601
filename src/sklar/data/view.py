"""The part of a prepared folder that one model is about: an outcome, some modalities, the matched rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from sklar.data.manifest import Count, Step
from sklar.data.outcome import count, event_rate, index_target, label_column
from sklar.data.schema import Schema
from sklar.data.split import SPLITS
from sklar.data.store import PreparedData
from sklar.data.tables import listed
from sklar.errors import DataError, UserError, nearest


class View(BaseModel):
    """What of a prepared folder a run reads.

    Attributes:
        task: The outcome, one of the folder's tasks, or several of them as labels of one model; None is what
            the schema says.
        modalities: Which ones, in the order of the schema; None is all.
        matched: Only rows that have all of these modalities, the totally matched cohort, are in a split;
            the split of the others is called "unmatched".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str | tuple[str, ...] | None = None
    modalities: tuple[str, ...] | None = Field(default=None, min_length=1)
    matched: bool = False

    def of(self, data: PreparedData) -> PreparedData:
        """The folder as this view shows it; its arrays stay where they are.

        Counts and attrition are those of the view. Presence and statistics stay those of the whole folder:
        they describe a modality, not a task.

        Raises:
            UserError: The folder has no such task or modality, or several tasks are not two or more.
            DataError: No row is left in a split.
        """
        if self == View():
            return data
        schema, index = data.schema, data.index
        names = self._names(data)
        outcome = self._outcome(data)
        index = index.rename_columns(_renamed(index.column_names, data.tasks, schema, outcome))
        changed = outcome.labels != schema.labels
        steps = list(data.manifest.attrition)
        if self.matched:
            has = np.stack([data.present[:, data.modalities.index(name)] for name in names], 1).all(1)
            parts = pc.if_else(pa.array(has), index["split"], "unmatched")
            index = index.set_column(index.column_names.index("split"), "split", parts)
        part = np.asarray(index["split"].to_numpy(), dtype=np.str_)
        counts = {"all": _count(outcome, index.filter(pa.array(part != "unmatched")), names)}
        counts |= {own: _count(outcome, index.filter(pa.array(part == own)), names) for own in SPLITS}
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
            schema=outcome.model_copy(
                update={"modalities": {name: schema.modalities[name] for name in names}}
            ),
            tasks=_first(outcome.labels, data.tasks) if changed or data.manifest.tasks else (),
            counts=counts,
            presence={name: data.manifest.presence[name] for name in names},
            records={name: data.manifest.records[name] for name in names if name in data.manifest.records},
            statistics={name: own for name, own in data.manifest.statistics.items() if name in names},
            attrition=tuple(steps),
            risk=event_rate(counts["all"]) if changed or self.matched else data.manifest.risk,
        )
        return PreparedData(data.path, manifest, index)

    def _outcome(self, data: PreparedData) -> Schema:
        """The schema with the outcome that was asked for."""
        schema = data.schema
        if self.task is None or self.task == schema.label:
            return schema
        named = (self.task,) if isinstance(self.task, str) else self.task
        for task in named:
            if task not in data.tasks:
                raise UserError(
                    f"no task {task!r} in {data.path}; it holds {', '.join(data.tasks)}"
                    f"{nearest(task, data.tasks)}"
                )
        if not isinstance(self.task, str) and not 2 <= len(set(named)) == len(named):
            raise UserError(
                f"data.task lists {', '.join(named)}: several are two or more different ones; write a single "
                "one as its name"
            )
        return schema.model_copy(update={"label": self.task, "classes": None})

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


def _renamed(names: Sequence[str], tasks: Sequence[str], before: Schema, after: Schema) -> list[str]:
    """Names of the index's columns, when the outcome is another one."""
    changes = {label_column(before, task): label_column(after, task) for task in tasks}
    return [changes.get(name, name) for name in names]


def _first(labels: tuple[str, ...], tasks: tuple[str, ...]) -> tuple[str, ...]:
    return (*labels, *(task for task in tasks if task not in labels))


def _count(schema: Schema, index: pa.Table, names: tuple[str, ...]) -> Count:
    present = np.stack([index[f"present_{name}"].to_numpy() for name in names], 1)
    return count(schema, index_target(schema, index), np.asarray(~present.any(1)))
