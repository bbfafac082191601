"""How large fits are: as Appendix E.1 of the paper says, or small enough for a laptop.

What the paper leaves open is set here and named in `caveats`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sklar.experiments.paper.plan import Fit, ImageKind, SeriesKind
from sklar.training.config import RunConfig, resolve
from sklar.training.presets import PRESETS, merge

ScaleName = Literal["full", "tiny"]

LEARNING_RATES: Mapping[str, float] = {"mmtm": 4.355e-5, "daft": 6.493e-5, "medfuse": 9.382e-5}
"""Of the released training scripts of the compared models; every other model has 1e-4, their default."""

BATCHES: Mapping[str, int] = {"mimic-iii": 16, "mimic-iv": 32}
"""Rows of a batch by cohort (Appendix E.1); DrFuse has its own."""

DRFUSE_BATCH = 8


@dataclass(frozen=True)
class Scale:
    """The size of everything.

    Attributes:
        series: Settings of the backbones of series, by kind.
        image: Settings of those of images, by kind.
        text: Settings of the text backbone.
        dim: Width of the latents.
        models: Further settings by model.
        training: Of every fit, on top of `BATCHES` and `LEARNING_RATES` where those apply.
        as_published: Whether batches and learning rates are the published ones.
        resamples: Bootstrap replicates.
    """

    series: Mapping[SeriesKind, Mapping[str, Any]]
    image: Mapping[ImageKind, Mapping[str, Any]]
    text: Mapping[str, Any]
    dim: int
    models: Mapping[str, Mapping[str, Any]]
    training: Mapping[str, Any]
    as_published: bool
    resamples: int


_PAPER: Any = PRESETS["paper"]
_LSTM: Any = _PAPER["model"]["encoders"]["series"]

FULL = Scale(
    series={"lstm": _LSTM, "transformer": _LSTM | {"kind": "transformer", "heads": 4, "intermediate": 1024}},
    image={"resnet34": {"kind": "resnet34"}, "resnet50": {"kind": "resnet50"}, "vit": {"kind": "vit"}},
    text=_PAPER["model"]["encoders"]["text"] | {"length": 512, "out_dim": 312, "vocabulary": 30522},
    dim=_PAPER["model"]["encoders"]["dim"],
    models={name: {"dropout": 0.3} for name in (
        "mmtm", "daft", "unified", "medfuse", "drfuse", "lsmt", "interleaved", "late", "single"
    )},
    training={
        "max_epochs": 100, "patience": 15, "weight_decay": 0.0, "clip": None, "schedule": "plateau",
    },
    as_published=True,
    resamples=1000,
)  # fmt: skip
"""Appendix E.1: 100 epochs, patience 15 on validation AUROC, Adam, 1,000 bootstrap replicates."""

_SMALL = {"widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1)}
_SHORT = {"hidden": 16, "layers": 2, "summaries": False}

TINY = Scale(
    series={
        "lstm": {"kind": "lstm", **_SHORT},
        "transformer": {"kind": "transformer", **_SHORT, "heads": 2, "intermediate": 32},
    },
    image={
        "resnet34": {"kind": "resnet34", **_SMALL},
        "resnet50": {"kind": "resnet50", **_SMALL},
        "vit": {"kind": "vit", "hidden": 16, "layers": 4, "heads": 2, "intermediate": 32, "patch": 16},
    },
    text={
        "hidden": 16, "layers": 1, "heads": 2, "intermediate": 32, "length": 24, "out_dim": 16,
        "vocabulary": 300,
    },
    dim=16,
    models={
        "lsmt": {
            "perceiver": {"latents": 8, "width": 16, "depth": 2}, "width": 16, "heads": 2, "head_width": 8,
            "mlp": 16, "layers": 1,
        },
        "interleaved": {"dim": 16, "heads": 2, "layers": 1, "embedding": 16, "time_heads": 2, "queries": 12},
        # the preset's 4,096 rows are more than these fits ever see
        "cm2": {"alignment": {"warmup": 256}},
    },
    training={
        "max_epochs": 2, "patience": 2, "batch_size": 32, "learning_rate": 3e-3, "weight_decay": 0.0,
        "draws": 5, "accelerator": "cpu",
    },
    as_published=False,
    resamples=200,
)  # fmt: skip
"""The same classes at reduced widths for two epochs: whether everything runs, not how good it is."""

SCALES: Mapping[ScaleName, Scale] = {"full": FULL, "tiny": TINY}


def configuration(fit: Fit, scale: Scale, seed: int, settings: Sequence[str] = ()) -> RunConfig:
    """The resolved settings of a fit.

    Args:
        fit: What is fitted.
        scale: How large.
        seed: Of initialisation and order.
        settings: ``training.*=...`` or ``model.encoders.*=...`` for every fit alike.
    """
    encoders = {
        "series": scale.series[fit.series],
        "image": scale.image[fit.image],
        "text": scale.text,
        "dim": scale.dim,
    }
    model = merge({"encoders": encoders}, scale.models.get(fit.model, {}))
    training = dict(scale.training)
    if scale.as_published:
        training["batch_size"] = DRFUSE_BATCH if fit.model == "drfuse" else BATCHES[fit.cohort]
        training["learning_rate"] = LEARNING_RATES.get(fit.model, 1e-4)
    if fit.preset != "default":
        training.pop("schedule", None)  # is the preset's
    view = {"task": fit.task, "modalities": fit.modalities, "matched": fit.matched}
    return resolve(
        fit.model, [*fit.settings, *settings],
        preset=fit.preset, model=model, training=training, data=view, seed=seed,
    )  # fmt: skip
