"""Where alignment and imputation help and where not, on data whose best possible prediction is known.

A grid fixed before any tuning: training rows x dependence x absence in training x where the label is. There
are two modalities, of which one can be absent: in half of the test rows. Every cell has skip, zero, skip
with modality dropout, unconditional and conditional imputation (sklar's defaults), gradient boosting and
logistic regression. The reference cells also have no alignment, cosine, both KL terms and every copula
family, with and without decorrelation, and K = 1 to 6. Printed over seeds: test AUROC and AUPR, overall and
inside the rows that lack a modality, and the share of the gap between skip and the Bayes classifier that
each method closes, with 95 % bootstrap intervals over seeds. All cells are printed, whatever comes out.
Every model is one fit, not an ensemble.

With the label in both modalities, a skip that knew the label's weights would come within .01 of the Bayes
classifier: what a method gains on a trained skip there is easier learning, not inference of what is missing.

Finished fits are kept in OUT/results.jsonl; the same command goes on from there.

    python benchmarks/method.py --out OUT [--cells reference|core|all] [--seeds 5] [--only TEXT]
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

from sklar import runs
from sklar.copulas import FAMILIES
from sklar.data.simulate import Scenario, write_simulation
from sklar.data.store import PreparedData
from sklar.evaluation import auroc, average_precision
from sklar.training.config import resolve

ROWS, TAUS, MISSING, LABELS = (500, 1000, 4000), (0.2, 0.4, 0.7), (0.0, 0.5, 0.9), ("missing", "both")
MISSING_TEST, TEST_ROWS = 0.5, 4000


@dataclass(frozen=True)
class Cell:
    """One setting of the grid."""

    rows: int
    tau: float
    missing: float
    label: str

    def scenario(self, seed: int) -> Scenario:
        sizes = np.array([self.rows, max(200, self.rows // 4), TEST_ROWS])
        return Scenario(
            rows=int(sizes.sum()),
            modalities={"scan": "table", "chart": "table"},
            tau=self.tau,
            rank=2,
            missing=self.missing,
            missing_test=MISSING_TEST,
            incomplete=("scan",),
            label=self.label,
            fractions=tuple(sizes / sizes.sum()),
            seed=seed,
        )

    @property
    def is_reference(self) -> bool:
        return self.rows == 1000 and self.tau >= 0.4 and self.missing == 0.5


CELLS = [Cell(*values) for values in product(ROWS, TAUS, MISSING, LABELS)]

# Small encoders and short epochs suit tables of six columns; the same for every model.
SHARED = ("model.encoders.dim=32",)
TRAINING = ("training.batch_size=64", "training.max_epochs=12", "training.draws=20")
NO_ALIGNMENT = ("model.alignment.term=none",)
CM2: Mapping[str, Sequence[str]] = {
    "skip": (*NO_ALIGNMENT, "model.imputation=skip", "model.modality_dropout=0"),
    "skip + dropout": (*NO_ALIGNMENT, "model.imputation=skip"),
    "zero": (*NO_ALIGNMENT, "model.imputation=zero", "model.modality_dropout=0"),
    "unconditional": ("model.imputation=unconditional",),
    "conditional": (),
}
TERMS = ("none", "cosine", "kl_softmax", "kl_gaussian")
ABLATIONS: Mapping[str, Sequence[str]] = {
    **{f"term {term}": (f"model.alignment.term={term}",) for term in TERMS},
    **{f"family {name}": (f"model.alignment.family={name}",) for name in FAMILIES if name != "independence"},
    "decorrelated": ("model.alignment.decorrelation=0.1",),
    **{
        f"term {term} decorrelated": (f"model.alignment.term={term}", "model.alignment.decorrelation=0.1")
        for term in TERMS
    },
    **{f"K {k}": (f"model.alignment.components={k}",) for k in range(1, 7)},
}
REFERENCES = ("gradient_boosting", "logistic_regression")
ALWAYS = ("bayes", "skip")  # what every share of the gap is computed from
METRICS = {"auroc": auroc, "aupr": average_precision}
JUDGED = [f"{name}_{where}" for where in ("all", "missing") for name in METRICS]


def judge(
    data: PreparedData, probability: np.ndarray, ids: np.ndarray, target: np.ndarray
) -> dict[str, float]:
    """Metrics on the test rows, overall and inside those that lack a modality."""
    order = {name: row for row, name in enumerate(data.ids)}
    lacking = ~data.present[[order[name] for name in ids]].all(1)
    found = {}
    for where, rows in {"all": np.ones_like(lacking), "missing": lacking}.items():
        for name, metric in METRICS.items():
            found[f"{name}_{where}"] = float(metric(target[rows].astype(int), probability[rows]))
    return found


def fit(method: str, data: PreparedData, seed: int, folder: Path) -> dict[str, float]:
    """Train one model and judge it; the run folder is removed."""
    if method in REFERENCES:
        config = resolve(method, (), seed=seed)
    else:
        own = {**CM2, **ABLATIONS}[method]
        config = resolve("cm2", (*SHARED, *TRAINING, *own), seed=seed)
    started = time.monotonic()
    run = runs.train(config, data, folder)
    predicted = run.predictions("test")
    found = judge(data, predicted.probability, predicted.ids, predicted.target)
    shutil.rmtree(folder)
    return found | {"seconds": time.monotonic() - started}


def truth(scenario: Scenario, folder: Path) -> tuple[PreparedData, dict[str, float]]:
    """The prepared folder, and what the Bayes classifier reaches on its test rows."""
    data, simulation = write_simulation(folder, scenario)
    rows = simulation.truth.split == "test"
    bayes = judge(data, simulation.truth.bayes[rows], simulation.ids[rows], simulation.truth.labels[rows])
    return data, bayes


def work(cells: Iterable[Cell], seeds: int, only: str, out: Path) -> list[dict]:
    """Run what is not done yet; every finished fit is one line of results.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    log = out / "results.jsonl"
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(*r["cell"].values(), r["method"], r["seed"]) for r in results}
    for seed, cell in product(range(seeds), cells):
        methods = ["bayes", *CM2, *REFERENCES, *(ABLATIONS if cell.is_reference else ())]
        todo = [
            m for m in methods if (only in m or m in ALWAYS) and (*asdict(cell).values(), m, seed) not in done
        ]
        if not todo:
            continue
        prepared = out / "prepared"
        shutil.rmtree(prepared, ignore_errors=True)
        data, bayes = truth(cell.scenario(seed), prepared)
        for method in todo:
            shutil.rmtree(out / "run", ignore_errors=True)
            found = bayes if method == "bayes" else fit(method, data, seed, out / "run")
            row = {"cell": asdict(cell), "method": method, "seed": seed, **found}
            results.append(row)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
        print(f"{len(results)} fits: seed {seed}, {cell}", file=sys.stderr, flush=True)
    return results


def interval(values: np.ndarray) -> str:
    """Mean over seeds with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (2000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.4f} [{low:.4f}, {high:.4f}]"


def closed(gained: np.ndarray, gap: np.ndarray) -> str:
    """Share of the gap from skip to Bayes, a ratio of means over seeds, with a bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(gap), (2000, len(gap)))
    ratios = gained[draws].mean(1) / gap[draws].mean(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return f"{gained.mean() / gap.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def show(results: Sequence[dict], cells: Iterable[Cell]) -> None:
    for cell in cells:
        rows = [r for r in results if r["cell"] == asdict(cell)]
        by_method: dict[str, dict[int, dict]] = {}
        for r in rows:
            by_method.setdefault(r["method"], {})[r["seed"]] = r
        if not {"skip", "bayes"} <= by_method.keys():
            continue
        seeds = sorted(set.intersection(*[set(found) for found in by_method.values()]))
        if not seeds:
            continue
        table = {
            method: {m: np.array([found[s][m] for s in seeds]) for m in JUDGED}
            for method, found in by_method.items()
        }
        print(f"\n{cell}, {len(seeds)} seeds")
        print(
            f"{'':<24}{'AUROC':<26}{'AUROC, missing rows':<26}{'AUPR':<26}{'minus skip':<28}closes of the gap"
        )
        for method, found in table.items():
            gain = found["auroc_all"] - table["skip"]["auroc_all"]
            gap = table["bayes"]["auroc_all"] - table["skip"]["auroc_all"]
            line = "".join(f"{interval(found[m]):<28}" for m in ("auroc_all", "auroc_missing", "aupr_all"))
            print(f"{method:<28}{line}{interval(gain):<28}{closed(gain, gap)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", choices=("reference", "core", "all"), default="all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="methods whose name holds this text")
    arguments = parser.parse_args()
    chosen = {
        "reference": [cell for cell in CELLS if cell.is_reference],
        "core": [cell for cell in CELLS if cell.rows == 1000],
        "all": CELLS,
    }[arguments.cells]
    results = work(chosen, arguments.seeds, arguments.only, arguments.out)
    show(results, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
