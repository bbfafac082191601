"""The numbers that the paper prints, transcribed once: `published.csv` beside this file.

Each line is one number: the table, the section of the paper that prints it, row and column as this package
names them, the value, and the interval where there is one. Left out is what could not be read with certainty:
in Table 2 the in-hospital mortality AUROC of MIMIC-III, in Table 10 the same metric of LSMT and Interleaved
with Transformer and ResNet. Figures print no numbers.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Published:
    """One number of the paper.

    Attributes:
        value: As printed.
        low: Lower end of its 95 % interval, None where none is printed.
        high: Its upper end.
        section: Where the paper prints it.
    """

    value: float
    low: float | None
    high: float | None
    section: str


@cache
def published() -> Mapping[tuple[str, str, str], Published]:
    """Every number by place ("Table 2"), row ("MIMIC-IV, CM²") and column ("ihm auroc")."""
    text = files("sklar.experiments.paper").joinpath("published.csv").read_text(encoding="utf-8")
    return {
        (line["place"], line["row"], line["column"]): Published(
            float(line["value"]),
            float(line["low"]) if line["low"] else None,
            float(line["high"]) if line["high"] else None,
            line["section"],
        )
        for line in csv.DictReader(text.splitlines())
    }
