"""Which rows the tables that compare models have: 2, 3, 7, 9, 10 and 11."""

from dataclasses import replace

from sklar.experiments.paper.plan import LABELS, TASKS, CohortName, Fit, ImageKind, SeriesKind, TaskName
from sklar.experiments.paper.pvalues import PValues
from sklar.experiments.paper.scores import Row, Scores

MODALITIES: dict[CohortName, tuple[str, str]] = {"mimic-iii": ("ehr", "notes"), "mimic-iv": ("ehr", "cxr")}
"""The two modalities of a cohort; the notes of MIMIC-III stand in for images that it lacks."""

TRIMODAL = ("ehr", "cxr", "report")

BASELINES = {"MMTM": "mmtm", "DAFT": "daft", "Unified": "unified", "MedFuse": "medfuse", "DrFuse": "drfuse"}
"""The compared systems of Tables 2, 3, 7 and 11, by their names in print."""

ADDITIONAL = {"LSMT": "lsmt", "Interleaved": "interleaved"}
"""Those of Tables 9 and 10."""

BACKBONES: dict[str, tuple[SeriesKind, ImageKind]] = {
    "LSTM + ResNet": ("lstm", "resnet34"),
    "LSTM + ViT": ("lstm", "vit"),
    "Transformer + ResNet": ("transformer", "resnet34"),
    "Transformer + ViT": ("transformer", "vit"),
}
"""The four blocks of Table 10."""


OWN_SERIES = tuple(ADDITIONAL.values())
"""They read the values of a series themselves: its backbone has no say, and two blocks share a fit."""


def fit_of(
    model: str, cohort: CohortName, task: TaskName, matched: bool, modalities: tuple[str, ...] | None = None
) -> Fit:
    """A model as the tables that are not about backbones or settings fit it.

    CM² is the paper's preset. DrFuse has the Transformer and the ResNet-50 of its own paper (Appendix E.2).
    """
    out = Fit(cohort, task, modalities or MODALITIES[cohort], matched, model)
    if model == "cm2":
        return replace(out, preset="paper")
    if model == "drfuse":
        return replace(out, series="transformer", image="resnet50")
    return out


def row(name: str, model: str, cohort: CohortName, matched: bool, **more: object) -> Row:
    """A row of a model with one fit for each task."""
    modalities = more.get("modalities")
    own = modalities if isinstance(modalities, tuple) else None
    return Row(name, tuple(fit_of(model, cohort, task, matched, own) for task in TASKS))


def _beside(name: str, cohort: CohortName, matched: bool, modalities: tuple[str, ...]) -> list[Row]:
    """Rows that the paper lacks: sklar's own settings of CM², late fusion, and each modality alone."""
    base = [Fit(cohort, task, modalities, matched, "cm2") for task in TASKS]
    out = [
        Row(f"{name}CM² (sklar's settings)", tuple(base)),
        Row(f"{name}late fusion", tuple(replace(fit, model="late") for fit in base)),
    ]
    for modality in modalities:
        alone = (f"model.modality={modality}",)
        out.append(
            Row(f"{name}{modality} only", tuple(replace(f, model="single", settings=alone) for f in base))
        )
    return out


def _both_cohorts(matched: bool) -> tuple[Row, ...]:
    rows = []
    for cohort in MODALITIES:
        name = f"{LABELS[cohort]}, "
        rows += [row(name + own, key, cohort, matched) for own, key in (*BASELINES.items(), ("CM²", "cm2"))]
        rows += _beside(name, cohort, matched, MODALITIES[cohort])
    return tuple(rows)


def _on_matched(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Each row once more, judged on the test rows that have every modality.

    The two settings of the paper differ in their test rows too, so that their numbers cannot be compared
    without this.
    """
    return tuple(replace(own, name=f"{own.name}, on matched test rows", only_matched=True) for own in rows)


def _backbones() -> tuple[Row, ...]:
    rows = []
    for block, (series, image) in BACKBONES.items():
        for name, key in (*BASELINES.items(), *ADDITIONAL.items(), ("CM²", "cm2")):
            base = [fit_of(key, "mimic-iv", task, True) for task in TASKS]
            own: ImageKind = "resnet50" if key == "drfuse" and image == "resnet34" else image
            read: SeriesKind = "lstm" if key in OWN_SERIES else series
            fits = tuple(replace(fit, series=read, image=own) for fit in base)
            rows.append(Row(f"{block}, {name}", fits))
    return tuple(rows)


def _additional() -> tuple[Row, ...]:
    settings = {"matched": True, "partial": False}
    return tuple(
        row(f"{name}, {own}", key, "mimic-iv", matched)
        for name, matched in settings.items()
        for own, key in (*ADDITIONAL.items(), ("CM²", "cm2"))
    )


_THREE = tuple(
    row(name, key, "mimic-iv", True, modalities=TRIMODAL)
    for name, key in (*BASELINES.items(), ("CM²", "cm2"))
)
_PARTIAL = _both_cohorts(False)

COMPARISONS = (
    Scores("Table 2", "totally matched modalities", _both_cohorts(True)),
    Scores("Table 3", "partially matched modalities", (*_PARTIAL, *_on_matched(_PARTIAL))),
    Scores("Table 7", "three modalities", (*_THREE, *_beside("", "mimic-iv", True, TRIMODAL))),
    Scores("Table 9", "additional baselines", _additional()),
    Scores("Table 10", "other backbones, totally matched", _backbones()),
    PValues(
        "Table 11",
        "tests of CM² against each baseline",
        row("CM²", "cm2", "mimic-iv", True),
        tuple(row(name, key, "mimic-iv", True) for name, key in BASELINES.items()),
    ),
)
"""In the order of the paper."""
