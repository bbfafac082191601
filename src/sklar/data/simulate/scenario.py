"""What is asked of a simulation: sizes, dependence, label and missingness in one frozen record."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sklar.data.simulate.missingness import Mechanism
from sklar.data.simulate.observation import MAPS
from sklar.errors import UserError

MAX_RANK = 32

Rates = float | Mapping[str, float]


@dataclass(frozen=True)
class Scenario:
    """A simulated data set in words; equal scenarios give equal data.

    What one setting changes, the draws behind the others do not: with the same seed and rows, another rate
    of absence hides other modalities of the same patients.

    Attributes:
        rows: N.
        modalities: Kinds (series, image, text, table), each its own name; or names to kinds.
        family: Copula family of the latents.
        tau: Kendall's tau of the severities of every two modalities.
        rank: Coordinates of each modality's latent, r. Coordinate 0 is its severity.
        missing: Rate of absence in training and validation, of every incomplete modality or by name.
        missing_test: The same in the test split; None is as in training.
        incomplete: Modalities that can be absent. None is those that a rate names, or, where rates name
            none, all but the last modality.
        mechanism: mcar, mar (given the severity of the first modality that is never absent) or mnar (given
            the modality's own severity).
        slope: How strongly absence follows severity, on the probit scale, under mar and mnar; positive hides
            the severe.
        label: Modalities whose severity drives the label: "all" (or "both"), "missing" (those that can be
            absent), a name, or names to weights.
        signal: Standard deviation of the label's score against noise of 1.
        prevalence: Share of label 1 (.3 when None), one per label, or the shares of all classes of a
            multiclass label (equal when None).
        labels: Number of binary labels; label l reads coordinate l mod r.
        classes: Ordered classes of a single label.
        fractions: Shares of training, validation and test rows.
        seed: Of everything.
        steps: Steps of a series.
        variables: Variables of a series; None is enough for the rank, at least six.
        columns: Columns of a table; None likewise.
        visits: Share of a series' steps with measurements.
        image_size: Height and width of an image.

    Raises:
        UserError: A value is out of its range, or names a modality that is not there.
    """

    rows: int = 4000
    modalities: Sequence[str] | Mapping[str, str] = ("series", "text", "table")
    family: str = "gaussian"
    tau: float = 0.5
    rank: int = 1
    missing: Rates = 0.5
    missing_test: Rates | None = None
    incomplete: Sequence[str] | None = None
    mechanism: Mechanism = "mcar"
    slope: float = 1.0
    label: str | Mapping[str, float] = "all"
    signal: float = 1.5
    prevalence: float | Sequence[float] | None = None
    labels: int = 1
    classes: int = 2
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 0
    steps: int = 24
    variables: int | None = None
    columns: int | None = None
    visits: float = 1.0
    image_size: int = 32

    def __post_init__(self) -> None:
        self._check_modalities()
        self._check_sizes()
        self._check_rates()
        _require(
            any(self.weights.values()), f"label {self.label!r}", "some modality needs a weight other than 0"
        )
        _ = self.shares

    def _check_modalities(self) -> None:
        if not isinstance(self.modalities, Mapping) and len(self.kinds) < len(self.modalities):
            raise UserError(
                f"modalities {', '.join(self.modalities)}: one is listed twice; give names, such as "
                "vitals=series,labs=series"
            )
        for name, kind in self.kinds.items():
            _require(kind in MAPS, f"modality {name!r} of kind {kind!r}", f"a kind is {', '.join(MAPS)}")
        _require(len(self.kinds) >= 2, f"modalities {', '.join(self.kinds) or 'none'}", "name at least two")

    def _check_sizes(self) -> None:
        _require(self.rows >= 10, f"rows {self.rows}", "at least 10")
        _require(1 <= self.rank <= MAX_RANK, f"rank {self.rank}", f"from 1 to {MAX_RANK}")
        _require(0 < self.signal < float("inf"), f"signal {self.signal}", "positive and finite")
        _require(self.labels >= 1, f"labels {self.labels}", "at least 1")
        _require(self.classes >= 2, f"classes {self.classes}", "at least 2")
        _require(
            self.labels == 1 or self.classes == 2,
            f"{self.labels} labels of {self.classes} classes",
            "several labels are binary; give labels or classes, not both",
        )
        _require(self.seed >= 0, f"seed {self.seed}", "a seed is not negative")
        _require(self.steps >= 1, f"steps {self.steps}", "at least 1")
        _require(0 < self.visits <= 1, f"visits {self.visits}", "a share above 0, at most 1")
        for what in ("variables", "columns"):
            size = getattr(self, what)
            _require(
                size is None or size >= self.rank,
                f"{what} {size}",
                f"at least the rank, {self.rank}, or the latents cannot be recovered",
            )
        least = 8 * math.ceil(self.rank**0.5)
        _require(self.image_size >= least, f"image_size {self.image_size}", f"at least {least}")
        _require(
            len(self.fractions) == 3
            and min(self.fractions) >= 0
            and self.fractions[0] > 0
            and abs(sum(self.fractions) - 1) < 1e-9,
            f"fractions {self.fractions}",
            "three shares (train, valid, test), train positive, sum 1",
        )

    def _check_rates(self) -> None:
        self._known(self.incomplete or (), "incomplete")
        for option, rates in (("missing", self.missing), ("missing_test", self.missing_test)):
            by_name = rates if isinstance(rates, Mapping) else {}
            self._known(by_name, option)
            for name in by_name:
                _require(
                    name in self.absentees,
                    f"{option}: {name!r} has a rate of absence",
                    f"incomplete are {', '.join(self.absentees) or 'none'}",
                )
            values = by_name.values() if isinstance(rates, Mapping) else (rates,)
            for rate in values:
                _require(rate is None or 0 <= rate <= 1, f"{option} {rate}", "a rate between 0 and 1")

    def _known(self, names: Sequence[str] | Mapping[str, float], where: str) -> None:
        for name in names:
            _require(name in self.kinds, f"{where}: {name!r}", f"modalities are {', '.join(self.kinds)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities in order."""
        return tuple(self.kinds)

    @property
    def kinds(self) -> dict[str, str]:
        """Names to kinds."""
        given = self.modalities
        return dict(given) if isinstance(given, Mapping) else {name: name for name in given}

    @property
    def absentees(self) -> tuple[str, ...]:
        """The modalities that can be absent."""
        if self.incomplete is not None:
            return tuple(name for name in self.names if name in self.incomplete)
        rates = [which for which in (self.missing, self.missing_test) if isinstance(which, Mapping)]
        if rates:
            return tuple(name for name in self.names if any(name in which for which in rates))
        return self.names[:-1]

    @property
    def anchor(self) -> int | None:
        """Position of the first modality that is never absent."""
        always = [index for index, name in enumerate(self.names) if name not in self.absentees]
        return always[0] if always else None

    @property
    def weights(self) -> dict[str, float]:
        """How much the severity of each modality counts for the label, up to scale.

        Raises:
            UserError: The label names a modality that is not there.
        """
        if isinstance(self.label, Mapping):
            self._known(self.label, "label")
            return {name: float(self.label.get(name, 0.0)) for name in self.names}
        if self.label in ("all", "both"):
            return dict.fromkeys(self.names, 1.0)
        if self.label == "missing":
            return {name: float(name in self.absentees) for name in self.names}
        if self.label not in self.kinds:
            raise UserError(
                f"label {self.label!r}: all, both, missing, or of the modalities {', '.join(self.names)}"
            )
        return {name: float(name == self.label) for name in self.names}

    @property
    def shares(self) -> list[list[float]]:
        """(L, K) P(y_l >= k) for k from 1.

        Raises:
            UserError: The prevalence does not fit the labels, or is no share.
        """
        given = self.prevalence
        if self.classes > 2:
            if isinstance(given, int | float):
                raise UserError(f"prevalence {given} of {self.classes} classes: give one share per class")
            parts = [1 / self.classes] * self.classes if given is None else list(given)
            _require(
                len(parts) == self.classes and min(parts) > 0 and abs(sum(parts) - 1) < 1e-9,
                f"prevalence {parts}",
                f"{self.classes} positive shares with sum 1",
            )
            return [[sum(parts[k:]) for k in range(1, self.classes)]]
        single = 0.3 if given is None else given
        rates = [float(single)] * self.labels if isinstance(single, int | float) else list(single)
        _require(
            len(rates) == self.labels, f"prevalence {rates}", f"one share for each of {self.labels} labels"
        )
        for rate in rates:
            _require(0 < rate < 1, f"prevalence {rate}", "strictly between 0 and 1")
        return [[rate] for rate in rates]

    def rate(self, name: str, test: bool) -> float:
        """Rate of absence of a modality in the test split, or elsewhere."""
        which = self.missing_test if test and self.missing_test is not None else self.missing
        if name not in self.absentees:
            return 0.0
        return float(which.get(name, 0.0) if isinstance(which, Mapping) else which)

    def as_dict(self) -> dict[str, Any]:
        """Plain content, for JSON."""
        return asdict(self) | {
            "modalities": self.kinds,
            "weights": self.weights,
            "incomplete": self.absentees,
        }


def _require(holds: bool, what: str, rule: str) -> None:
    if not holds:
        raise UserError(f"{what}: {rule}")
