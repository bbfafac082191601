"""What can be checked of a prepared MIMIC folder beyond any other: counts, times, units and ranges."""

import numpy as np
import pyarrow.parquet as pq

from sklar.data.audit import Finding, State, audit
from sklar.data.store import PreparedData
from sklar.mimic.published import count_findings
from sklar.mimic.variables import BIN_SECONDS, WINDOW_SECONDS, variables


def audit_mimic(data: PreparedData) -> list[Finding]:
    """Check an opened folder that `sklar.mimic.prepare` made."""
    findings = [
        *audit(data),
        *count_findings(data),
        _times(data),
        _masks(data),
        *_ranges(data),
        _agreement(data),
    ]
    findings += [finding for name in data.schema.images for finding in _pictures(data, name)]
    return findings + [_documents(data, name) for name in data.schema.texts]


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
        state: State = "ok" if not outside else "failed" if strict else "note"
        detail = f"{outside:,} of {own.size:,} outside {low:g} to {high:g}"
        findings.append(Finding(f"range of {entry.name}", state, detail))
    return findings


def _agreement(data: PreparedData) -> Finding:
    """Index and stays name the same patients in the same order."""
    stays = pq.read_table(data.path / "stays.parquet")
    same = np.array_equal(stays["stay_id"].to_numpy().astype(str), data.ids)
    same &= np.array_equal(stays["subject_id"].to_numpy().astype(str), data.groups)
    return Finding(
        "stays", "ok" if same else "failed", "the index names the stays" if same else "index and stays differ"
    )


def _pictures(data: PreparedData, name: str) -> list[Finding]:
    """No picture before the admission or after the prediction, and each is its patient's."""
    source = pq.read_table(data.path / f"{name}.source.parquet")
    second = source["second"].to_numpy()
    early, late = int((second < 0).sum()), int((second > WINDOW_SECONDS).sum())
    detail = f"{len(second):,} pictures, latest {second.max() / 3600:.2f} h of 48 h"
    if early or late:
        detail = f"{early} before the admission to the ICU, {late} after the prediction"
    times = Finding(f"times of {name}", "failed" if early or late else "ok", detail)
    owners = data.groups[data.present[:, data.modalities.index(name)]]
    own = source["id"].to_numpy().astype(str) == data.ids_of(name)
    own &= source["subject_id"].to_numpy().astype(str) == owners
    strange = int((~own).sum())
    patients = f"{strange} pictures are another patient's" if strange else "each picture is its patient's"
    return [times, Finding(f"patients of {name}", "failed" if strange else "ok", patients)]


def _documents(data: PreparedData, name: str) -> Finding:
    """No document after the prediction, unless the rules reach beyond it as the benchmark does."""
    lists = data.content(name)["times"]
    hours = lists.combine_chunks().flatten().to_numpy()
    late = int((hours > 0).sum())
    beyond = name == "notes" and data.manifest.rules["rule_note_window"] == "event"
    state: State = "ok" if not late else "note" if beyond else "failed"
    where = "after" if late else "before"
    detail = f"{len(hours):,} documents, the latest {abs(hours.max()):.2f} h {where} the prediction"
    if late:
        detail += f", {late:,} after it" + (" (the published window)" if beyond else "")
    return Finding(f"times of {name}", state, detail)
