"""How many rows the benchmarks and the paper report, beside what was found."""

from collections.abc import Mapping

import numpy as np

from sklar.data.audit import Finding, State
from sklar.data.split import SPLITS
from sklar.data.store import PreparedData

Counts = Mapping[str, int]
"""Rows under "all" and each split, positives under each task."""

ROWS: Mapping[tuple[str, str], Counts] = {
    ("mimic-iii", "1.4"): {
        "all": 21139,
        "train": 14681,
        "valid": 3222,
        "test": 3236,
        "ihm": 2797,
        "readm": 3987,
    },
    ("mimic-iv", "1.0"): {"all": 26226, "train": 18845, "valid": 2138, "test": 5243},
    ("mimic-iv", "2.2"): {
        "all": 25071,
        "train": 18064,
        "valid": 2035,
        "test": 4972,
        "ihm": 3153,
        "readm": 4603,
    },
    ("mimic-iii", "demo 1.4"): {"all": 57, "ihm": 17},
}
"""Of the whole cohort, in the benchmarks and the paper's Tables 1 and 8, by source and version.

The paper prints 2,795 deaths for MIMIC-III, the benchmark's own statistics 2,797.
"""

_PAIRED: Counts = {"all": 5931, "train": 4287, "valid": 465, "test": 1179, "ihm": 890, "readm": 1262}

MATCHED: Mapping[tuple[str, str], Mapping[str, Counts]] = {
    ("mimic-iii", "1.4"): {
        "notes": {"all": 5273, "train": 3652, "valid": 815, "test": 806, "ihm": 736, "readm": 998}
    },
    ("mimic-iv", "1.0"): {"cxr": {"all": 6215, "train": 4485, "valid": 488, "test": 1242}},
    ("mimic-iv", "2.2"): {"cxr": _PAIRED, "report": _PAIRED},
}
"""Of the rows that have a modality, in the same tables; version 1.0 is MedFuse's."""

PICTURES: Counts = {"all": 377095, "train": 344529, "valid": 9497, "test": 23069}
"""Radiographs whose study has labels, in the paper's Table 1."""


def count_findings(data: PreparedData) -> list[Finding]:
    """Found beside published; a difference fails only where rules and lists are the published ones."""
    rules = data.manifest.rules
    key = (rules["source"], rules["version"])
    if key not in ROWS:
        return [Finding("published counts", "note", f"none for {key[0]}, version {key[1]}")]
    lists = rules.get("split_lists", {})
    published = bool(lists) and all(entry["published_counts"] for entry in lists.values())
    compat = rules["rule_name"] == "compat"
    findings = _beside("count of", _rows(data, None), ROWS[key], compat, published)
    for name, wanted in MATCHED.get(key, {}).items():
        if name in data.modalities:
            # which third of the rows may have notes depends on the split
            same = compat and (published or name != "notes")
            findings += _beside(f"{name}: count of", _rows(data, name), wanted, same, published)
    pictures = data.manifest.records.get("cxr", {}).get("with_labels", {})
    if isinstance(pictures, dict) and pictures:
        every = {"all": sum(pictures.values()), **pictures}
        findings += _beside("pictures: count of", every, PICTURES, True, published)
    return findings


def _rows(data: PreparedData, name: str | None) -> dict[str, int]:
    """Rows in all and in each split, and positives of each task, among those that have a modality."""
    has = np.ones(len(data.ids), dtype=bool)
    if name is not None:
        has = data.present[:, data.modalities.index(name)]
    found = {"all": int(has.sum())} | {part: int(has[data.rows(part)].sum()) for part in SPLITS}
    ids = set(data.ids[has].tolist())
    for task in data.tasks:
        found[task] = sum(label for own, label in data.labels(task).items() if own in ids)
    return found


def _beside(topic: str, found: Counts, wanted: Counts, comparable: bool, published: bool) -> list[Finding]:
    findings = []
    for name in (name for name in wanted if name in found):
        same = comparable and (name not in SPLITS or published)
        state: State = "ok" if found[name] == wanted[name] else "failed" if same else "note"
        detail = f"{found[name]:,} here, {wanted[name]:,} published"
        detail += "" if same else " (other rules, or another split)"
        findings.append(Finding(f"{topic} {name}", state, detail))
    return findings
