"""Run folders as training leaves them, filled with synthetic predictions."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import yaml

MODALITIES = ("series", "text", "table")
GAINS = {
    "cm2": 1.15,
    "medfuse": 1.05,
    "unified": 1.0,
    "series": 0.8,
    "text": 0.5,
    "table": 0.75,
    "late": 0.95,
    "gradient_boosting": 1.1,
    "logistic_regression": 1.0,
}
CLASSICAL = ("gradient_boosting", "logistic_regression")


def cohort(rows=600, weighted=True):
    """Test rows that every model predicts: 15 % events, text often absent, some patients with two rows."""
    random = np.random.default_rng(0)
    present = random.random((rows, 3)) < (0.8, 0.58, 0.97)
    return {
        "id": np.array([f"patient-{i:05d}" for i in range(rows)]),
        "group": np.array([f"g{i:05d}" for i in random.integers(0, rows, rows)]),
        "target": (random.random(rows) < 0.15).astype(float),
        "weight": 1 + random.exponential(0.2, rows) if weighted else np.ones(rows),
        **{f"present_{name}": present[:, i] for i, name in enumerate(MODALITIES)},
    }


def predicted(rows, gain, seed):
    """Probabilities that know the outcome the better, the larger the gain; intervals where text is absent."""
    shared = np.random.default_rng(99).normal(size=len(rows["id"]))
    own = np.random.default_rng(seed).normal(size=len(rows["id"]))
    # calibrated: two normals of distance d have the log likelihood ratio d * score - d * d / 2
    distance = 1.2 * gain
    score = distance * rows["target"] + 0.8 * shared + 0.6 * own
    logit = np.log(0.15 / 0.85) + distance * score - distance**2 / 2
    half = np.where(rows["present_text"], 0.0, 0.35)
    low, middle, high = (1 / (1 + np.exp(-(logit + shift))) for shift in (-half, 0, half))
    return {"probability": middle, "low": low, "high": high}


def description(restricted=False):
    return {
        "name": "Synthetic liver cohort",
        "hash": "9c0ffee1d2",
        "restricted": restricted,
        "modalities": list(MODALITIES),
        "label": "death within five years",
        "counts": {
            "subjects": 3900,
            "labelled": 3000,
            "events": 455,
            "train": {"subjects": 2340, "labelled": 1800, "events": 274},
            "valid": {"subjects": 780, "labelled": 600, "events": 92},
            "test": {"subjects": 780, "labelled": 600, "events": 89},
        },
        "presence": {"series": 0.805, "text": 0.58, "table": 0.97},
        "attrition": [
            {"step": "all subjects", "subjects": 4100, "events": 520},
            {"step": "adults", "subjects": 3900, "events": 515},
            {"step": "outcome known at five years", "subjects": 3000, "events": 455},
        ],
        "risk": {"complete_case": 0.1517, "kaplan_meier": 0.1132},
        "notes": ["Ages over 89 are one group."],
    }


def write_run(folder, model, rows, gain, seed=0, restricted=False):
    """A finished run folder, as training leaves it."""
    folder.mkdir(parents=True)
    classical = model in CLASSICAL
    config = {"model": {"name": model}, "seed": 7, "data": "prepared/liver", "training": {"max_epochs": 12}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "data.json").write_text(json.dumps(description(restricted)))
    (folder / "env.json").write_text(json.dumps({"python": "3.11.7", "packages": {"torch": "2.13.0"}}))
    parquet.write_table(pa.table(rows | predicted(rows, gain, seed)), folder / "predictions_test.parquet")
    if not classical:
        origin = {
            "model": {"source": "scratch", "parameters": 123_456},
            "text": {"source": "scratch"},
            "series": {"source": "series.safetensors"},
        }
        (folder / "weights.json").write_text(json.dumps(origin))
        (folder / "history.csv").write_text(history())
    metrics = {"model": model, "parameters": 123_456, "seconds": 42.5, "alignment": None, "copula": None}
    if model == "cm2":
        metrics["alignment"] = {
            "log_density_true": 0.412,
            "log_density_shuffled": -0.138,
            "kendall_tau": [[1, 0.38, 0.19], [0.38, 1, 0.05], [0.19, 0.05, 1]],
        }
        correlation = [[1, 0.56, 0.3], [0.56, 1, 0.08], [0.3, 0.08, 1]]
        parameters = {"correlation": correlation}
        metrics["copula"] = {
            "family": "gaussian",
            "modalities": list(MODALITIES),
            "parameters": parameters,
        }
        (folder / "latents.json").write_text(json.dumps(latents()))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def latents():
    """Margins that fit, pairs that are told apart, and imputations that are a little too narrow."""
    levels = (np.arange(20) + 0.5) / 20
    normal = np.log(levels / (1 - levels)) / 1.7
    own = {"real": normal.tolist(), "drawn": (0.9 * normal).tolist(), "correlation": 0.41}
    return {
        "rows": 600,
        "complete": 281,
        "uniforms": {
            name: (1 / 20 + 0.004 * np.sin(8 * levels + i)).tolist() for i, name in enumerate(MODALITIES)
        },
        "log_density": {"true": (0.4 + 0.5 * normal).tolist(), "shuffled": (-0.2 + 0.6 * normal).tolist()},
        "imputed": {name: own | {"level": 0.9, "coverage": 0.87} for name in MODALITIES},
    }


def history():
    names = "train_loss valid_loss valid_auroc copula_true copula_shuffled kendall_tau"
    names += " effective_rank_text ks_text"
    lines = [",".join(["epoch", *names.split()])]
    for epoch in range(12):
        fall = np.exp(-epoch / 4)
        valid = "," if epoch == 5 else f"{0.4 + 0.16 * fall:.4f},{0.80 - 0.2 * fall:.4f}"
        lines.append(
            f"{epoch},{0.36 + 0.25 * fall:.4f},{valid},{0.42 - 0.4 * fall:.4f},{-0.14 + 0.1 * fall:.4f},"
            f"{0.38 - 0.35 * fall:.4f},{8 + 5 * fall:.3f},{0.05 + 0.2 * fall:.3f}"
        )
    return "\n".join(lines) + "\n"


def write_runs(folder, models=tuple(GAINS), rows=None, restricted=False):
    rows = cohort() if rows is None else rows
    return [
        write_run(folder / model, model, rows, GAINS[model], seed, restricted)
        for seed, model in enumerate(models)
    ]
