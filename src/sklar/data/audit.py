"""What can be checked of any prepared folder: content, patients, outcomes, values."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sklar.data.manifest import Step
from sklar.data.source import observed_cells
from sklar.data.split import SPLITS
from sklar.data.store import PreparedData

State = Literal["ok", "note", "failed"]


@dataclass(frozen=True)
class Finding:
    """One result of an audit.

    Attributes:
        topic: What was looked at.
        state: "failed" breaks a contract; "note" is for a reader to judge.
        detail: What was found.
    """

    topic: str
    state: State
    detail: str


def audit(data: PreparedData) -> list[Finding]:
    """Check an opened folder; open it with ``verify=True`` to have its hashes compared first."""
    return [
        Finding("content", "ok", f"{len(data.manifest.files)} files, hash {data.hash[:12]}"),
        *(
            Finding("attrition", "note", f"{step.step}: {step.subjects:,} rows{_events(step)}")
            for step in data.manifest.attrition
        ),
        _groups(data),
        *_prevalence(data),
        *_values(data),
    ]


def _events(step: Step) -> str:
    return "" if step.events is None else f", {step.events} events"


def _groups(data: PreparedData) -> Finding:
    """Each group must be in one split."""
    pairs = {(group, part) for part in SPLITS for group in data.groups[data.rows(part)].tolist()}
    shared = len(pairs) - len({group for group, _ in pairs})
    sizes = ", ".join(f"{part} {len(set(data.groups[data.rows(part)].tolist())):,}" for part in SPLITS)
    if shared:
        return Finding(
            "groups", "failed", f"{shared} groups are in two splits: the test sees training groups"
        )
    return Finding("groups", "ok", f"{sizes}; none in two splits")


def _prevalence(data: PreparedData) -> list[Finding]:
    findings = []
    for task in data.tasks:
        labels = data.labels(task)
        classes = data.schema.classes if task == data.schema.label else None
        kinds = {task: 1}
        if classes is not None:
            kinds = {f"{task} = {own}": code for code, own in enumerate(classes)}
        for kind, code in kinds.items():
            shares = []
            for part in SPLITS:
                own = [labels[name] == code for name in data.ids[data.rows(part)].tolist() if name in labels]
                rate = f" ({np.mean(own):.1%})" if own else ""
                shares.append(f"{part} {sum(own):,} of {len(own):,}{rate}")
            findings.append(Finding(f"prevalence of {kind}", "note", ", ".join(shares)))
    return findings


def _values(data: PreparedData) -> list[Finding]:
    """Lowest, median and highest observed value of every number of a gridded series."""
    findings = []
    for name, spec in data.schema.grids.items():
        array = data.array(name)
        seen = observed_cells(spec, array)
        for number in spec.numbers:
            place = spec.columns.index(number)
            own = array[..., place][seen[..., place]]
            detail = "never observed"
            if own.size:
                low, middle, high = np.quantile(own, [0, 0.5, 1])
                share = own.size / seen[..., place].size
                detail = f"{low:g} to {high:g}, median {middle:g}, in {share:.1%} of the cells"
            findings.append(Finding(f"{name}: {number}", "note", detail))
    return findings
