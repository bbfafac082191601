"""What is asked of a simulated hospital, in one frozen record."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from sklar.data.simulate import Dependence, Missingness
from sklar.data.simulate.missingness import Mechanism
from sklar.errors import UserError
from sklar.mimic.layout import LAYOUTS, Source

Form = Literal["csv.gz", "parquet"]

MODALITIES = ("ehr", "cxr", "text")
"""Each has a latent severity: of chart and laboratory, of chest images, of notes and reports."""

ANCHOR = 0
"""The modality that every stay has."""


@dataclass(frozen=True)
class HospitalPlan:
    """A simulated hospital in words; equal plans give equal files.

    Attributes:
        stays: ICU stays that belong to the cohort; edge cases come on top.
        seed: Of everything.
        family: Copula family of the three severities.
        tau: Kendall's tau of every two.
        signal: Standard deviation of the outcome's score against noise of 1.
        prevalence: Share of stays that end in death.
        missing: Rate of absence, of images and of texts each.
        mechanism: mcar, mar (given the severity of chart and laboratory) or mnar (given its own).
        slope: How strongly absence follows severity under mar and mnar.
        chart_rows: Rows of CHARTEVENTS per stay; rows of items that no variable is mapped to fill up what
            the measurements leave. Laboratory rows are a tenth of it. 0 writes measurements only.
        image_size: Height of an image in pixels; its width is 5/4 of that.
        edge_cases: Also write every case of `sklar.mimic.hospital.CASES`, and a MIMIC-IV in the layout of
            version 1.0.
        form: Format of the tables.
        sources: Data sets to write; images come with MIMIC-IV.

    Raises:
        UserError: A value is out of its range.
    """

    stays: int = 1000
    seed: int = 0
    family: str = "gaussian"
    tau: float = 0.4
    signal: float = 1.5
    prevalence: float = 0.25
    missing: float = 0.4
    mechanism: Mechanism = "mcar"
    slope: float = 1.0
    chart_rows: int = 0
    image_size: int = 128
    edge_cases: bool = False
    form: Form = "csv.gz"
    sources: tuple[Source, ...] = ("mimic-iii", "mimic-iv")

    def __post_init__(self) -> None:
        _require(20 <= self.stays <= 800_000, f"stays {self.stays}", "from 20 to 800,000")
        _require(self.seed >= 0, f"seed {self.seed}", "a seed is not negative")
        _require(0 < self.signal < float("inf"), f"signal {self.signal}", "positive and finite")
        _require(0 < self.prevalence < 1, f"prevalence {self.prevalence}", "strictly between 0 and 1")
        _require(0 <= self.missing < 1, f"missing {self.missing}", "a rate from 0 to below 1")
        _require(0 <= self.chart_rows <= 100_000, f"chart rows {self.chart_rows}", "from 0 to 100,000")
        _require(64 <= self.image_size <= 512, f"image size {self.image_size}", "from 64 to 512 pixels")
        _require(self.form in get_args(Form), f"form {self.form!r}", f"one of {', '.join(get_args(Form))}")
        _require(
            bool(self.sources) and set(self.sources) <= set(LAYOUTS),
            f"sources {', '.join(self.sources) or 'none'}",
            f"one or more of {', '.join(LAYOUTS)}",
        )
        _ = self.dependence, self.missingness  # so that what they refuse is refused here

    @property
    def dependence(self) -> Dependence:
        """Of the severities."""
        return Dependence(len(MODALITIES), self.family, self.tau)

    @property
    def missingness(self) -> Missingness:
        """Of images and texts."""
        return Missingness(self.mechanism, self.slope, ANCHOR)

    def as_dict(self) -> dict[str, Any]:
        """Plain content, for JSON."""
        return {**asdict(self), "sources": list(self.sources)}


def _require(holds: bool, what: str, rule: str) -> None:
    if not holds:
        raise UserError(f"{what}: {rule}")
