"""Sentences of reports and notes, graded by severity."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRADES = 5
"""Sentences per aspect, from none to very severe."""

FINDINGS: Mapping[str, tuple[str, ...]] = {
    "opacity": (
        "The lungs are clear.",
        "There is subtle haziness at the bases.",
        "Patchy opacities are present in both lower lungs.",
        "Multifocal consolidation has increased.",
        "There is near complete opacification of both lungs.",
    ),
    "effusion": (
        "No pleural effusion is seen.",
        "Trace blunting of the costophrenic angles.",
        "Small bilateral effusions are noted.",
        "Moderate effusions are larger than before.",
        "Large layering effusions with compressive atelectasis.",
    ),
    "congestion": (
        "Pulmonary vasculature is normal.",
        "Minimal vascular prominence.",
        "Mild interstitial congestion.",
        "Moderate pulmonary edema.",
        "Severe alveolar edema with bat wing pattern.",
    ),
    "heart": (
        "The cardiac silhouette is normal in size.",
        "Heart size is at the upper limit.",
        "The heart is mildly enlarged.",
        "Cardiomegaly is substantial.",
        "The heart is massively enlarged.",
    ),
}
"""Of a report's findings, per aspect."""

IMPRESSIONS = (
    "No acute cardiopulmonary process.",
    "Minor changes, likely atelectasis.",
    "Findings suggest early pneumonia.",
    "Worsening pneumonia and edema.",
    "Findings consistent with diffuse lung injury.",
)
"""Of a report's impression."""

NARRATIVE: Mapping[str, tuple[str, ...]] = {
    "mind": (
        "pt alert and oriented, conversing with family.",
        "pt drowsy but easily roused.",
        "pt intermittently confused and restless.",
        "pt lethargic, opens eyes to voice alone.",
        "pt unresponsive off sedation.",
    ),
    "circulation": (
        "hemodynamically stable off pressors.",
        "bp soft, responded to one bolus.",
        "low dose pressor started for hypotension.",
        "pressor requirement climbing overnight.",
        "maximal dose of two pressors, map still low.",
    ),
    "breathing": (
        "breathing comfortably on room air.",
        "two liters by cannula, lungs coarse.",
        "high flow oxygen, tires easily.",
        "intubated, fio2 weaned slowly.",
        "difficult to ventilate, proned for hypoxia.",
    ),
    "kidneys": (
        "brisk urine output.",
        "urine output adequate.",
        "urine output marginal, creatinine rising.",
        "oliguric despite diuretics.",
        "anuric, dialysis catheter placed.",
    ),
}
"""Of a nursing note, per aspect."""

ASIDES = (
    "skin intact, turned every two hours.",
    "family updated by the team.",
    "tolerating tube feeds.",
    "lines changed today without difficulty.",
    "social work consulted.",
    "bed in low position, rails up.",
    "labs sent as ordered.",
    "pain well controlled.",
)
"""Of a note, and of no meaning."""

INDICATIONS = ("dyspnea", "fever", "intubated patient", "line placement", "hypoxia", "chest pain")
"""Why an image was taken; of no meaning."""


def grades(severity: Floats, aspects: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(N, aspects) which sentence says how severe it is: independent roundings of the severity.

    A grade spans 0.8 standard deviations; the scale ends at both ends.
    """
    place = severity[:, None] / 0.8 + GRADES / 2 + rng.normal(0.0, 0.6, (len(severity), aspects))
    return np.clip(np.floor(place), 0, GRADES - 1).astype(np.int64)


def said(scale: Sequence[str], grade: NDArray[np.int64]) -> pa.Array:
    """(N,) the sentences of grades."""
    return pc.take(pa.array(scale), pa.array(grade))


def sentences(scales: Mapping[str, Sequence[str]], grade: NDArray[np.int64], between: str = " ") -> pa.Array:
    """(N,) one sentence per aspect, joined."""
    parts = [said(scale, grade[:, index]) for index, scale in enumerate(scales.values())]
    return pc.binary_join_element_wise(*parts, between)


def joined(*parts: pa.Array | str, between: str = "") -> pa.Array:
    """Texts, constant or per row, one after the other."""
    return pc.binary_join_element_wise(*parts, between)
