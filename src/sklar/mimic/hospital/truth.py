"""What is true of a simulated hospital: severities, best predictions, and what preparation should find."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import kendalltau

from sklar._version import __version__
from sklar.mimic.hospital.cases import CASES, COPIES, leaves
from sklar.mimic.hospital.plan import MODALITIES
from sklar.mimic.hospital.severity import Severity
from sklar.mimic.hospital.spelling import Numbers
from sklar.mimic.hospital.stays import Stays, readmitted
from sklar.mimic.layout import Source

TRUTH = "truth.json"
"""Figures of the whole hospital; a table of the same name has a row per stay. Preparation reads neither."""

STEPS = ("same_unit", "admitted", "alone", "adult", "diagnosed", "long_enough", "measured")
"""Of the attrition, in order."""

COHORT = STEPS[:4]
"""Steps after which a stay is one that a readmission can lead to."""


@dataclass(frozen=True)
class Truth:
    """Everything known of the stays.

    Attributes:
        severity: How ill they are, and who dies.
        stays: Their patients, admissions and times, edge cases last.
        numbers: Per source how its tables call them.
    """

    severity: Severity
    stays: Stays
    numbers: dict[Source, Numbers]

    @property
    def ordinary(self) -> NDArray[np.bool_]:
        """(N,) which stays are no edge case."""
        return np.asarray(self.stays.case == "")

    def died(self, rules: str) -> NDArray[np.bool_]:
        """(N,) death in hospital; the published rules go by the date of death."""
        if rules == "strict":
            return self.stays.died
        return np.asarray(self.stays.died | (self.stays.case == "same_day_death"))

    def counts(self, source: Source, rules: str) -> dict[str, Any]:
        """Stays, deaths and what each step of the attrition leaves."""
        dropped = leaves(self.stays, source, rules)
        kept, died = dropped == "", self.died(rules)
        left = {"ICU stays": len(kept)}
        for place, step in enumerate(STEPS):
            left[step] = int((~np.isin(dropped, STEPS[: place + 1])).sum())
        out = {"stays": int(kept.sum()), "deaths": int((kept & died).sum()), "attrition": left}
        return out | {"readm": int((kept & self._readm(dropped, rules)).sum())}

    def _readm(self, dropped: NDArray[np.str_], rules: str) -> NDArray[np.bool_]:
        """(N,) the second task: the published rules look for stays of the cohort, and count deaths too."""
        if rules == "compat":
            return np.asarray(self.died(rules) | readmitted(self.stays, ~np.isin(dropped, COHORT)))
        first = np.isin(np.arange(len(dropped)), self.stays.first_of_admission)
        again = self.stays.admission[readmitted(self.stays, first)]
        return np.asarray(np.isin(self.stays.admission, again) & ~self.stays.died)

    def presence(self, source: Source) -> dict[str, float]:
        """Share of ordinary stays that have each modality."""
        shares = self.severity.present(source)[self.ordinary].mean(0)
        return {name: float(share) for name, share in zip(MODALITIES, shares, strict=True)}

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON."""
        severity, rows = self.severity, self.ordinary
        z = severity.latents[rows]
        pairs = [(i, j) for i in range(len(MODALITIES)) for j in range(i)]
        return {
            "synthetic": True,
            "sklar": __version__,
            "plan": severity.plan.as_dict(),
            "modalities": list(MODALITIES),
            "kendall_tau": {
                f"{MODALITIES[j]} and {MODALITIES[i]}": float(kendalltau(z[:, i], z[:, j]).statistic)
                for i, j in pairs
            },
            "auroc": {
                "complete": severity.auroc(severity.complete, rows),
                "alone": {name: severity.auroc(severity.alone(name), rows) for name in MODALITIES},
            },
            "sources": {
                source: {
                    "auroc": {
                        "bayes": severity.auroc(severity.bayes(source), rows),
                        "skip": severity.auroc(severity.skip(source), rows),
                    },
                    "presence": self.presence(source),
                    "compat": self.counts(source, "compat"),
                    "strict": self.counts(source, "strict"),
                }
                for source in self.numbers
            },
            "edge_cases": {
                name: {"what": case.what, "copies": COPIES, "stays": case.stays}
                for name, case in CASES.items()
                if (self.stays.case == name).any()
            },
        }

    def table(self) -> pa.Table:
        """A row per stay: its numbers, edge case, death, severities, presence, and best predictions."""
        severity = self.severity
        columns: dict[str, Any] = {
            "case": pa.array(self.stays.case, pa.string()),
            "died": severity.died,
            "complete": severity.complete,
        }
        columns |= {f"severity_{name}": severity.latents[:, i] for i, name in enumerate(MODALITIES)}
        for source, numbers in self.numbers.items():
            present = severity.present(source)
            columns |= {f"{source} stay_id": numbers.stay, f"{source} subject_id": numbers.patient}
            columns |= {f"{source} {name}": present[:, i] for i, name in enumerate(MODALITIES)}
            columns |= {f"{source} bayes": severity.bayes(source), f"{source} skip": severity.skip(source)}
        return pa.table(columns)

    def write(self, folder: Path) -> None:
        """Write both into a folder."""
        text = json.dumps(self.summary(), indent=2, allow_nan=False)
        (folder / TRUTH).write_text(text + "\n", encoding="utf-8")
        pq.write_table(self.table(), folder / Path(TRUTH).with_suffix(".parquet"))


def plan_of(folder: Path) -> dict[str, Any] | None:
    """The plan of the hospital that this version of sklar wrote into a folder, None if there is none."""
    try:
        content = json.loads((folder / TRUTH).read_text(encoding="utf-8"))
        return dict(content["plan"]) if content["sklar"] == __version__ else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
