"""What can be checked of a prepared MIMIC folder beyond any other: counts, times, units and ranges."""

from collections.abc import Mapping

import numpy as np
import pyarrow.parquet as pq

from sklar.data.audit import Finding, audit
from sklar.data.split import SPLITS
from sklar.data.store import PreparedData
from sklar.mimic.variables import BIN_SECONDS, WINDOW_SECONDS, variables

PUBLISHED: Mapping[tuple[str, str], Mapping[str, int]] = {
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
"""Rows and positives that the benchmarks and the paper's Tables 1 and 8 report, by source and version.

The paper prints 2,795 deaths for MIMIC-III, the benchmark's own statistics 2,797.
"""


def audit_mimic(data: PreparedData) -> list[Finding]:
    """Check an opened folder that `sklar.mimic.prepare` made."""
    return [*audit(data), *_counts(data), _times(data), _masks(data), *_ranges(data), _agreement(data)]


def _counts(data: PreparedData) -> list[Finding]:
    """Found beside published; a difference fails only where rules and lists are the published ones."""
    rules = data.manifest.rules
    expected = PUBLISHED.get((rules["source"], rules["version"]))
    if expected is None:
        return [
            Finding("published counts", "note", f"none for {rules['source']}, version {rules['version']}")
        ]
    found = {name: data.manifest.counts[name].subjects for name in ("all", *SPLITS)}
    found |= {task: sum(data.labels(task).values()) for task in data.tasks}
    lists = rules.get("split_lists", {})
    published = bool(lists) and all(entry["published_counts"] for entry in lists.values())
    findings = []
    for name, wanted in expected.items():
        if name in found:
            comparable = rules["rule_name"] == "compat" and (name not in SPLITS or published)
            state = "ok" if found[name] == wanted else "failed" if comparable else "note"
            detail = f"{found[name]:,} here, {wanted:,} published"
            if not comparable:
                detail += " (other rules, or another split)"
            findings.append(Finding(f"count of {name}", state, detail))  # type: ignore[arg-type]
    return findings


def _times(data: PreparedData) -> Finding:
    """No measurement after the prediction time, and each in the bin of its time."""
    cells = pq.read_table(data.path / "cells.parquet")
    second, place = cells["second"].to_numpy(), cells["bin"].to_numpy()
    late = int(((second < 0) | (second > WINDOW_SECONDS)).sum())
    wrong = int((np.maximum(second - 1, 0) // BIN_SECONDS != place).sum())
    if late or wrong:
        return Finding("event times", "failed", f"{late} outside 0 to 48 h, {wrong} in another bin")
    return Finding("event times", "ok", f"{len(second):,} cells, latest {second.max() / 3600:.2f} h of 48 h")


def _masks(data: PreparedData) -> Finding:
    """A mask is 1 if and only if there is a measurement (or the parts that make up the coma score)."""
    cells = pq.read_table(data.path / "cells.parquet")
    array, spec = data.array("ehr"), data.schema.grids["ehr"]
    masks = array[..., len(spec.values) :] > 0
    expected = np.zeros(masks.shape, dtype=bool)
    ids = data.ids.astype(np.int64)
    stay = np.searchsorted(ids, cells["stay_id"].to_numpy())
    expected[stay, cells["bin"].to_numpy(), cells["variable"].to_numpy()] = True
    if data.manifest.rules["rule_coma_total"] == "derived":
        names = list(spec.variables)
        total = names.index("Glascow coma scale total")
        parts = [i for i, name in enumerate(names) if name.startswith("Glascow") and i != total]
        expected[..., total] |= expected[..., parts].all(-1)
    wrong = int((expected != masks).sum())
    return Finding(
        "masks", "failed" if wrong else "ok", f"{wrong} of {masks.size:,} differ from the measurements"
    )


def _ranges(data: PreparedData) -> list[Finding]:
    """How many measurements lie outside the plausible range; none may under rules that drop them."""
    cells = pq.read_table(data.path / "cells.parquet")
    variable, value = cells["variable"].to_numpy(), cells["value"].to_numpy()
    strict = data.manifest.rules["rule_outliers"] == "range"
    findings = []
    for index, entry in enumerate(variables()):
        if entry.range is None or not (own := value[variable == index]).size:
            continue
        _, low, high, _ = entry.range
        outside = int(((own < low) | (own > high)).sum())
        state = "ok" if not outside else "failed" if strict else "note"
        detail = f"{outside:,} of {own.size:,} outside {low:g} to {high:g}"
        findings.append(Finding(f"range of {entry.name}", state, detail))  # type: ignore[arg-type]
    return findings


def _agreement(data: PreparedData) -> Finding:
    """Index and stays name the same patients in the same order."""
    stays = pq.read_table(data.path / "stays.parquet")
    same = np.array_equal(stays["stay_id"].to_numpy().astype(str), data.ids)
    same &= np.array_equal(stays["subject_id"].to_numpy().astype(str), data.groups)
    return Finding(
        "stays", "ok" if same else "failed", "the index names the stays" if same else "index and stays differ"
    )
