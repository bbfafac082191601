"""Which rows the ablations have: Tables 4, 5 and 6."""

from dataclasses import replace

from sklar.experiments.paper.comparisons import fit_of
from sklar.experiments.paper.plan import TASKS
from sklar.experiments.paper.scores import Row, Scores

_NO_COPULA = ("model.alignment.pit=rosenblatt",)
"""Another term couples no uniforms, so that this has no say; it is at its default."""

_OTHER_TERM = (*_NO_COPULA, "model.alignment.scale=mean", "model.alignment.weight=1.0")
"""The released scripts give the other losses the weight 1."""

TERMS = {
    "Cosine": (*_OTHER_TERM, "model.alignment.term=cosine"),
    "KL": (*_OTHER_TERM, "model.alignment.term=kl_softmax"),
    "Copula": (),
}
"""Table 4; KL is the released code's, see docs/deviations.md, entry 10."""

PARTS = {
    "w/o copula": (*_NO_COPULA, "model.alignment.term=none"),
    "w/o GPS": ("model.imputation=zero", "model.imputation_gradient=none"),
    "w/o GPS (draws without gradient)": ("model.imputation_gradient=none",),
    "w/o fusion": ("model.fusion.kind=concat",),
    "CM²": (),
}
"""Table 5, which does not say what its rows switch off; see docs/deviations.md, entry 11."""

FAMILIES = {
    "Gumbel": ("model.alignment.family=gumbel",),
    "Frank": (),
    "Gaussian": ("model.alignment.family=gaussian",),
}
"""Table 6; Frank is the preset's."""


def ablated(name: str, matched: bool, settings: tuple[str, ...]) -> Row:
    """CM² on MIMIC-IV as the paper's preset has it, but for some settings."""
    fits = [fit_of("cm2", "mimic-iv", task, matched) for task in TASKS]
    return Row(name, tuple(replace(fit, settings=settings) for fit in fits))


def _parts() -> tuple[Row, ...]:
    partial = [ablated(f"partial, {name}", False, settings) for name, settings in PARTS.items()]
    # with every modality there, nothing is imputed
    kept = {name: settings for name, settings in PARTS.items() if "GPS" not in name}
    return (*partial, *(ablated(f"matched, {name}", True, settings) for name, settings in kept.items()))


def _families() -> tuple[Row, ...]:
    return tuple(
        ablated(f"{rows}, {name}", rows == "matched", settings)
        for name, settings in FAMILIES.items()
        for rows in ("partial", "matched")
    )


ABLATIONS = (
    Scores("Table 4", "alignment losses", tuple(ablated(name, True, own) for name, own in TERMS.items())),
    Scores("Table 5", "what each part contributes", _parts()),
    Scores("Table 6", "copula families", _families()),
)
