"""Reports of chest images, in the layouts that they come in."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.mimic.hospital.words import (
    FINDINGS,
    IMPRESSIONS,
    INDICATIONS,
    grades,
    joined,
    said,
    sentences,
)

HEAD = "                                 FINAL REPORT\n"

LAYOUTS = {
    "": HEAD + " EXAMINATION:  CHEST (PORTABLE AP)\n\n INDICATION:  ___ with {reason}  // eval\n\n"
    " COMPARISON:  ___.\n\n FINDINGS: \n\n {findings}\n\n IMPRESSION: \n\n {impression}\n",
    "report_without_header": HEAD + " {findings}\n {impression}\n",
    "report_in_one_section": HEAD + " HISTORY:  {reason}.\n\n"
    " FINDINGS AND IMPRESSION:  {findings}\n {impression}\n",
    "report_without_findings": HEAD + " CHEST RADIOGRAPH\n \n INDICATION:  {reason}.\n \n"
    " COMPARISON:  ___.\n \n {findings}\n \n {impression}\n",
    "report_by_view": HEAD + " INDICATION:  {reason}.\n\n"
    " PORTABLE AP CHEST:  {findings}\n\n IMPRESSION:  {impression}\n",
    "report_with_preamble": " WET READ: ___ ___ 4:05 AM\n  {impression}\n"
    "______________________________________________________________________________\n" + HEAD
    + " REASON FOR EXAMINATION:  {reason}.\n\n FINDINGS:  {findings}\n\n IMPRESSION:  {impression}\n\n"
    " ADDENDUM:  Discussed by telephone.\n",
}  # fmt: skip
"""Layout by edge case; the first is the usual one."""


def write_reports(
    severity: NDArray[np.float64], cases: NDArray[np.str_], rng: np.random.Generator
) -> pa.Array:
    """(K,) texts of reports, graded by severity.

    Args:
        severity: (K,) what each tells.
        cases: (K,) edge case of its stay.
        rng: Of the wording.
    """
    grade = grades(severity, len(FINDINGS) + 1, rng)
    words = {
        "{findings}": sentences(FINDINGS, grade[:, :-1], "\n "),
        "{impression}": said(IMPRESSIONS, grade[:, -1]),
        "{reason}": said(INDICATIONS, rng.integers(0, len(INDICATIONS), len(severity))),
    }
    out = np.empty(len(severity), dtype=object)
    usual = ~np.isin(cases, list(LAYOUTS)[1:])
    for layout, template in LAYOUTS.items():
        rows = usual if layout == "" else cases == layout
        if rows.any():
            chosen = {name: text.filter(pa.array(rows)) for name, text in words.items()}
            out[rows] = _filled(template, chosen).to_numpy(zero_copy_only=False)
    return pa.array(out, pa.string())


def _filled(template: str, words: dict[str, pa.Array]) -> pa.Array:
    """(K,) a template with its gaps filled, row by row."""
    parts: list[pa.Array | str] = [template]
    for name, text in words.items():
        parts = [
            piece
            for part in parts
            for piece in (_split(part, name, text) if isinstance(part, str) else [part])
        ]
    return joined(*parts)


def _split(part: str, name: str, text: pa.Array) -> list[pa.Array | str]:
    first, *others = part.split(name)
    return [first, *(piece for other in others for piece in (text, other))]
