"""Named sets of settings: what the paper describes, and what its released code does.

A preset is expanded when a configuration is resolved: ``config.yaml`` shows every value, and any of them may
be overridden. ``default`` is what the configuration classes say.

``paper``: what the paper fixes is two-layer LSTMs for series and for fusion, ResNet-34 for images, TinyBERT
for text, mixtures, a copula on F_m(z_m), unconditional gradient-preserving draws, Adam, batches of 32, 100
epochs, patience 15. Its grid is dropout {0, .1, .2, .3}, learning rate {1e-4, 5e-5, 1e-5}, lambda {1e-5,
5e-6, 1e-6}, temperature {.001, .005, .01, .05, .08} and K from 1 to 6; which values won is not said.

- *Our choice* from the grid: dropout .3, learning rate 1e-4, lambda 1e-6, temperature .001, K = 3. Frank is
  our choice among the families of Table 6, of which the best depends on the task.
- *Our choice* where nothing is said: latent width 256, standardised latents, gradients of draws stratified,
  20 draws at prediction, one vector of mixture weights (the text says an MLP, but not of what), copula
  parameters at the common learning rate, no weight decay, no clipping, a constant learning rate.
- *Corrected*: the sign of the objective, and F_m(z_m) made uniform by its own distribution
  (``pit="kendall"``; docs/deviations.md, entries 1 and 2).
- Encoders start from random weights; the paper's TinyBERT is pretrained (``encoders.text.pretrained``).

``released``: what the only public commit computes, as far as sklar has it as an option: its alignment loss
(``pit="official"``, Gumbel, whose theta is a clock), unit-length latents, one-layer fusion of width 512 over
the tokens that are there (imputed vectors never reach it: ``imputation="skip"``), Adam with beta_2 = .9, a
plateau schedule, temperature 1e-4. Here, unlike there, absent images are not encoded, the weights that early
stopping returns are those of the best epoch, and all modalities are projected.
"""

from collections.abc import Mapping
from typing import Any

from sklar.errors import UserError


def merge(into: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with those of ``change`` on top."""
    out = dict(into)
    for key, value in change.items():
        old = out.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        out[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return out


_BOTH: Mapping[str, Any] = {
    "model": {
        "encoders": {
            "dim": 256,
            "series": {"kind": "lstm", "hidden": 256, "layers": 2, "summaries": False, "dropout": 0.3},
            "image": {"kind": "resnet34"},
            # TinyBERT, 4 layers
            "text": {"hidden": 312, "layers": 4, "heads": 12, "intermediate": 1200},
        },
        "modality_dropout": 0.0,
        "mark_imputed": False,
        "discount_imputed": False,
        "linear_path": False,
        "dropout": 0.3,
    },
    "training": {
        "max_epochs": 100,
        "patience": 15,
        "batch_size": 32,
        "learning_rate": 1e-4,
        "weight_decay": 0.0,
        "copula_learning_rate": 1.0,
        "clip": None,
    },
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "paper": merge(
        _BOTH,
        {
            "model": {
                "alignment": {
                    "family": "frank",
                    "components": 3,
                    "pit": "kendall",
                    "weight": 1e-6,
                    "scale": "sum",
                    "average": "paired",
                },
                "imputation": "unconditional",
                "imputation_gradient": "stratified",
                "fusion": {"kind": "lstm", "layers": 2, "dropout": 0.3},
            },
            "training": {"schedule": "constant", "betas": [0.9, 0.999], "temperature": 0.001},
        },
    ),
    "released": merge(
        _BOTH,
        {
            "model": {
                "normalise": "unit",
                "alignment": {
                    "family": "gumbel",
                    "components": 3,
                    "pit": "official",
                    "weight": 1e-6,
                    "average": "paired",
                },
                "imputation": "skip",
                "fusion": {"kind": "lstm", "layers": 1, "hidden": 512},
            },
            "training": {"schedule": "plateau", "betas": [0.9, 0.9], "temperature": 1e-4},
        },
    ),
}
"""Settings of CM² by preset, on top of which everything else applies."""


def preset(name: str, model: str) -> Mapping[str, Any]:
    """The settings of a preset for a model.

    Raises:
        UserError: There is no such preset, or it is not for this model.
    """
    if name not in PRESETS:
        raise UserError(f"no preset {name!r}; choose one of {', '.join(PRESETS)}")
    if PRESETS[name] and model != "cm2":
        raise UserError(f"preset {name!r} describes cm2, not {model}: leave it out, or train cm2")
    return PRESETS[name]
