"""How the tables are read: every choice a named switch, two complete sets of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from sklar.errors import UserError

NUMBERS = {"report_hours": 0, "note_least": 1}
"""Switches that are numbers, and their least values."""


@dataclass(frozen=True)
class Rules:
    """One set of choices; `COMPAT` reproduces the published benchmark, `STRICT` is what we would do.

    Attributes:
        name: Of the set, for manifests.
        na_none: Whether the text "None" is a gap ("pandas2") or a value ("pandas1"); it is how MetaVision
            records that the eyes do not open.
        oxygen_fraction: "divide": every FiO2 is divided by 100, fractions too; "plausible": 0.2 to 1 is a
            fraction, 20 to 100 a percentage, anything else a gap.
        ties: Several values at one time: "text" takes the last in string order where the benchmark's
            columns are strings, the largest elsewhere; "middle" the midpoint of lowest and highest, and
            the lowest score of a category.
        outliers: "keep", or "range": beyond the outlier bounds a gap, beyond the valid ones clipped.
        units: From the unit's text and the value ("text"), or from the item ("item").
        specimens: "any", or "blood" alone.
        items: The "benchmark" map, or the "extended" one.
        categories: Two spellings in separate columns ("separate"), or one column per score ("merged").
        coma_total: "recorded", or "derived" from eye, motor and verbal where it was not recorded.
        mortality: "death_date" counts a date of death within the admission, to the day; "hospital" reads
            the hospital's flag and the time of death.
        readmission: "cohort": the next stay of the cohort within 30 days, or death; "admission": the next
            hospital admission within 30 days of discharge alive, unknown for who died in hospital.
        late: Values entered after the prediction time: "keep", or "drop" where STORETIME says so.
        errors: Rows marked as erroneous: "keep" or "drop".
        normaliser: Statistics of "train_valid" or "train" rows.
        clip: Bound of normalised values; None leaves them.
        diagnosis: "known" keeps stays whose admission has a diagnosis of the dictionary; "any" keeps all.
        age: MIMIC-IV: age at the "anchor" year, or at the "admission".
        clock: "keep", or "check": admissions that end before they begin, and events more than a day
            outside the stay, are left out.
        image_order: The last picture of a stay: "row" compares whole seconds, then the order of the table;
            "exact" fractions of a second, then the pictures' names.
        image_pixels: "resaved": scaled to a width of 512 and compressed a second time before it is scaled
            to its size, as published; "direct": scaled once.
        image_flips: In training pictures are "mirrored" at random, which moves the heart, or stay "upright".
        reports: Studies whose sections were picked by hand have no report ("sectioned"), as in the published
            table of sections, or are read like all others ("every").
        report_hours: MIMIC-CXR has no times of reports: hours after its picture within which a report is
            taken to be final. Later than the prediction, it is left out.
        blank_text: A section without text, or a note without any after cleaning, is a document of its own
            ("keep"), or none ("drop").
        note_window: "event": notes before the 49th hour after the first event that is an hour or more after
            the admission to the ICU; "prediction": notes charted by the prediction time, no summary of the
            discharge.
        note_least: Fewer notes are none.
        note_ties: Of notes charted at one time the "later" row, or "all".
        note_sample: A "third" of the rows of each split may have notes, or "all".
        note_text: With the contractions and quotation marks of a "treebank" tokenizer, in lower case, or
            "plain".
    """

    name: str
    na_none: Literal["pandas1", "pandas2"]
    oxygen_fraction: Literal["divide", "plausible"]
    ties: Literal["text", "middle"]
    outliers: Literal["keep", "range"]
    units: Literal["text", "item"]
    specimens: Literal["any", "blood"]
    items: Literal["benchmark", "extended"]
    categories: Literal["separate", "merged"]
    coma_total: Literal["recorded", "derived"]
    mortality: Literal["death_date", "hospital"]
    readmission: Literal["cohort", "admission"]
    late: Literal["keep", "drop"]
    errors: Literal["keep", "drop"]
    normaliser: Literal["train_valid", "train"]
    clip: float | None
    diagnosis: Literal["known", "any"]
    age: Literal["anchor", "admission"]
    clock: Literal["keep", "check"]
    image_order: Literal["row", "exact"]
    image_pixels: Literal["resaved", "direct"]
    image_flips: Literal["mirrored", "upright"]
    reports: Literal["sectioned", "every"]
    report_hours: float
    blank_text: Literal["keep", "drop"]
    note_window: Literal["event", "prediction"]
    note_least: int
    note_ties: Literal["later", "all"]
    note_sample: Literal["third", "all"]
    note_text: Literal["treebank", "plain"]

    def __post_init__(self) -> None:
        for entry in fields(self):
            allowed, value = get_args(entry.type), getattr(self, entry.name)
            if entry.name in NUMBERS and value < NUMBERS[entry.name]:
                raise UserError(f"rule {entry.name}={value!r}: at least {NUMBERS[entry.name]}")
            if entry.name not in ("name", "clip", *NUMBERS) and value not in allowed:
                raise UserError(f"rule {entry.name}={value!r}: choose one of {', '.join(allowed)}")
        if (self.categories == "merged") != (self.ties == "middle"):
            raise UserError(
                "rules: ties='middle' compares scores, so it goes with categories='merged', and "
                "ties='text' with categories='separate'"
            )

    @property
    def merged(self) -> bool:
        """Whether category codes are scores."""
        return self.categories == "merged"

    def as_dict(self) -> dict[str, Any]:
        """The switches by name, for a manifest."""
        return asdict(self)

    @classmethod
    def recorded(cls, about: Mapping[str, Any]) -> Self:
        """The rules that a manifest records, each under ``rule_<name>``."""
        return cls(**{entry.name: about[f"rule_{entry.name}"] for entry in fields(cls)})


COMPAT = Rules(
    name="compat",
    na_none="pandas2",
    oxygen_fraction="divide",
    ties="text",
    outliers="keep",
    units="text",
    specimens="any",
    items="benchmark",
    categories="separate",
    coma_total="recorded",
    mortality="death_date",
    readmission="cohort",
    late="keep",
    errors="keep",
    normaliser="train_valid",
    clip=None,
    diagnosis="known",
    age="anchor",
    clock="keep",
    image_order="row",
    image_pixels="resaved",
    image_flips="mirrored",
    reports="sectioned",
    report_hours=0.0,
    blank_text="keep",
    note_window="event",
    note_least=6,
    note_ties="later",
    note_sample="third",
    note_text="treebank",
)

STRICT = Rules(
    name="strict",
    na_none="pandas1",
    oxygen_fraction="plausible",
    ties="middle",
    outliers="range",
    units="item",
    specimens="blood",
    items="extended",
    categories="merged",
    coma_total="derived",
    mortality="hospital",
    readmission="admission",
    late="drop",
    errors="drop",
    normaliser="train",
    clip=5.0,
    diagnosis="any",
    age="admission",
    clock="check",
    image_order="exact",
    image_pixels="direct",
    image_flips="upright",
    reports="every",
    report_hours=6.0,
    blank_text="drop",
    note_window="prediction",
    note_least=1,
    note_ties="all",
    note_sample="all",
    note_text="plain",
)

RULES = {"compat": COMPAT, "strict": STRICT}


def resolve(rules: "str | Rules", changes: Sequence[str] = ()) -> Rules:
    """A set of rules by name, or as given, with single switches changed.

    Args:
        rules: "compat", "strict", or rules.
        changes: Switches as "name=value".

    Raises:
        UserError: There is no such set, switch or value.
    """
    if not isinstance(rules, Rules):
        if rules not in RULES:
            raise UserError(f"rules {rules!r}: choose {' or '.join(RULES)}, or pass sklar.mimic.Rules")
        rules = RULES[rules]
    for change in changes:
        name, _, value = change.partition("=")
        switches = [entry.name for entry in fields(rules) if entry.name not in ("name", "clip")]
        if name not in switches:
            raise UserError(f"rule {change!r}: a rule is NAME=VALUE with one of {', '.join(switches)}")
        changed: dict[str, Any] = {name: _read(name, value)}
        changed["name"] = f"{rules.name.split(' ')[0]} with changes"
        rules = replace(rules, **changed)
    return rules


def _read(name: str, value: str) -> str | int | float:
    """A switch's value from its text."""
    if name not in NUMBERS:
        return value
    try:
        return float(value) if isinstance(getattr(COMPAT, name), float) else int(value)
    except ValueError:
        raise UserError(f"rule {name}={value!r}: a number, at least {NUMBERS[name]}") from None
