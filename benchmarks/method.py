"""Where alignment and imputation help and where not, on data whose best possible prediction is known.

A grid fixed before any tuning: training rows x dependence x absence in training x where the label is. There
are two modalities, of which one can be absent: in half of the test rows. Every cell has skip, zero, skip
with modality dropout, unconditional and conditional imputation (sklar's defaults), gradient boosting and
logistic regression. The reference cells also have no alignment, cosine, both KL terms and every copula
family, with and without decorrelation, and K = 1 to 6. Printed over seeds: test AUROC and AUPR, overall and
inside the rows that lack a modality, and the share of the gap between skip and the Bayes classifier that
each method closes, with 95 % bootstrap intervals over seeds. All cells are printed, whatever comes out.
"nafld" puts the same methods to a real cohort, whose best possible prediction nobody knows. Every model is
one fit, not an ensemble. "conditional, former defaults" is CM² with the settings that it had before this grid
was tuned on other seeds: they are pinned, so that one run shows before and after.

With the label in both modalities, a skip that knew the label's weights would come within .01 of the Bayes
classifier: what a method gains on a trained skip there is easier learning, not inference of what is missing.

Fits run in --jobs processes of one thread each, seed by seed, the reference and core cells first. Finished
ones are kept in OUT/results.jsonl, and the same command goes on from there; after --minutes no fit is begun.

    python benchmarks/method.py --out OUT [--cells reference|core|all|nafld] [--seeds 5] [--only TEXT]
                                [--jobs 1] [--minutes LIMIT] [--picture FILE]
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch

import method_picture
from sklar import runs
from sklar.copulas import FAMILIES
from sklar.data.nafld import prepare_nafld
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

    def prepare(self, folder: Path, seed: int) -> tuple[PreparedData, dict[str, float]]:
        """The prepared folder, and what the Bayes classifier reaches on its test rows."""
        data, simulation = write_simulation(folder, self.scenario(seed))
        truth = simulation.truth
        rows = truth.split == "test"
        return data, judge(data, truth.bayes[rows], simulation.ids[rows], truth.labels[rows])

    @property
    def settings(self) -> tuple[str, ...]:
        return (*SHARED, *TRAINING)

    @property
    def is_reference(self) -> bool:
        return self.rows == 1000 and self.tau >= 0.4 and self.missing == 0.5


@dataclass(frozen=True)
class Cohort:
    """A real cohort in the place of a cell, with the settings of its demo: a seed draws split and start."""

    name: str = "nafld"
    is_reference = True
    settings = ()

    def prepare(self, folder: Path, seed: int) -> tuple[PreparedData, None]:
        return prepare_nafld(folder, seed=seed), None


CELLS = [Cell(*values) for values in product(ROWS, TAUS, MISSING, LABELS)]

# Small encoders and short epochs suit tables of six columns; the same for every model.
SHARED = ("model.encoders.dim=32",)
TRAINING = (
    "training.batch_size=64",
    "training.max_epochs=12",
    "training.draws=20",
    "training.accelerator=cpu",
)
NO_ALIGNMENT = ("model.alignment.term=none",)
CM2: Mapping[str, Sequence[str]] = {
    "skip": (*NO_ALIGNMENT, "model.imputation=skip", "model.modality_dropout=0"),
    "skip + dropout": (*NO_ALIGNMENT, "model.imputation=skip"),
    "zero": (*NO_ALIGNMENT, "model.imputation=zero", "model.modality_dropout=0"),
    "unconditional": ("model.imputation=unconditional",),
    "conditional": (),
    "conditional, former defaults": (
        "model.alignment.weight=0.1",
        "model.alignment.average=paired",
        "model.alignment.components=3",
    ),
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


@dataclass(frozen=True)
class Fit:
    """One method on one data set of the grid; "bayes" is the truth itself."""

    cell: Cell | Cohort
    method: str
    seed: int

    @property
    def key(self) -> tuple:
        return (*asdict(self.cell).values(), self.method, self.seed)

    def run(self, work: Path) -> dict:
        """The line of results.jsonl, from folders of this process below ``work``."""
        own = work / str(os.getpid())
        started = time.monotonic()
        data, bayes = prepared(self.cell, self.seed, own / "prepared")
        found = bayes if self.method == "bayes" and bayes else self._train(data, own / "run")
        row = {"cell": asdict(self.cell), "method": self.method, "seed": self.seed}
        return row | found | {"seconds": time.monotonic() - started}

    def _train(self, data: PreparedData, folder: Path) -> dict[str, float]:
        if self.method in REFERENCES:
            config = resolve(self.method, (), seed=self.seed)
        else:
            own = {**CM2, **ABLATIONS}[self.method]
            config = resolve("cm2", (*self.cell.settings, *own), seed=self.seed)
        shutil.rmtree(folder, ignore_errors=True)
        predicted = runs.train(config, data, folder).predictions("test")
        return judge(data, predicted.probability, predicted.ids, predicted.target)


@lru_cache(maxsize=1)
def prepared(cell: Cell | Cohort, seed: int, folder: Path) -> tuple[PreparedData, dict[str, float] | None]:
    """A cell's data, kept for the next method."""
    shutil.rmtree(folder, ignore_errors=True)
    return cell.prepare(folder, seed)


def plan(cells: Iterable[Cell | Cohort], seeds: int, only: str) -> Iterator[Fit]:
    """All fits, in the order in which their results are wanted."""

    def late(cell: Cell | Cohort) -> tuple[bool, bool]:
        return not cell.is_reference, isinstance(cell, Cell) and cell.rows != 1000

    for seed, cell in product(range(seeds), sorted(cells, key=late)):
        truth = ("bayes",) if isinstance(cell, Cell) else ()
        for method in (*truth, *CM2, *REFERENCES, *(ABLATIONS if cell.is_reference else ())):
            if only in method or method in ALWAYS:
                yield Fit(cell, method, seed)


def work(fits: Iterable[Fit], out: Path, jobs: int, minutes: float) -> list[dict]:
    """Run what is not done yet; every finished fit is one line of results.jsonl."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    log, folder = out / "results.jsonl", Path(tempfile.mkdtemp(prefix="work-", dir=out))
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(*r["cell"].values(), r["method"], r["seed"]) for r in results}
    todo = [fit for fit in fits if fit.key not in done]
    waiting = iter(todo)
    running: set[Future[dict]] = set()
    # a forked process would inherit threads of torch in whatever state they are
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool, log.open("a") as file:
        while True:
            while len(running) < jobs and time.monotonic() - started < 60 * minutes:
                if (fit := next(waiting, None)) is None:
                    break
                running.add(pool.submit(fit.run, folder))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                results.append(row := future.result())
                file.write(json.dumps(row) + "\n")
                file.flush()
                what = f"{row['method']}, seed {row['seed']}, {row['cell']}"
                print(f"{len(results) - len(done)} of {len(todo)}: {what}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
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


def by_method(results: Sequence[dict], cell: Cell | Cohort) -> dict[str, dict[int, dict]]:
    """Per method and seed what was found in a cell."""
    found: dict[str, dict[int, dict]] = {}
    for r in results:
        if r["cell"] == asdict(cell):
            found.setdefault(r["method"], {})[r["seed"]] = r
    return found


def gains_on_skip(
    results: Sequence[dict], rows: int, tau: float, missing: float, label: str, method: str
) -> np.ndarray | None:
    """AUROC minus that of skip on the seeds that both have; None without two of them."""
    found = by_method(results, Cell(rows, tau, missing, label))
    seeds = sorted(found.get(method, {}).keys() & found.get("skip", {}).keys())
    if len(seeds) < 2:
        return None
    return np.array([found[method][s]["auroc_all"] - found["skip"][s]["auroc_all"] for s in seeds])


def show(results: Sequence[dict], cells: Iterable[Cell | Cohort]) -> None:
    """Every method of every cell on the seeds that it and what it is compared with have."""
    for cell in cells:
        found = by_method(results, cell)
        always = [name for name in ALWAYS if name == "skip" or isinstance(cell, Cell)]
        if not found.keys() >= set(always):
            continue
        print(f"\n{cell}\n{'':<28}seeds  ", end="")
        print("".join(f"{m:<28}" for m in (*JUDGED, "AUROC minus skip")) + "closes of the gap")
        for method, own in found.items():
            seeds = sorted(set(own).intersection(*[found[name] for name in always]))
            if not seeds:
                continue
            value = {name: np.array([found[name][s]["auroc_all"] for s in seeds]) for name in always}
            gain = np.array([own[s]["auroc_all"] for s in seeds]) - value["skip"]
            texts = [interval(np.array([own[s][m] for s in seeds])) for m in JUDGED]
            share = closed(gain, value["bayes"] - value["skip"]) if "bayes" in value else ""
            line = "".join(f"{text:<28}" for text in (*texts, interval(gain)))
            print(f"{method:<28}{len(seeds):<7}{line}{share}")


def promised(results: Sequence[dict], cells: Iterable[Cell]) -> None:
    """A Markdown table of what is promised: CM² by its defaults against the best of what imputes nothing."""
    plain, others = ("skip", "zero", "skip + dropout"), ("unconditional", *REFERENCES)
    print("\n| rows | tau | missing in training | label in | seeds | Bayes | skip | CM² |", end="")
    print(" closes of the gap | minus skip + dropout | best without imputation | minus it", end="")
    print(f" | {' | '.join(others)} |")
    print("|---" * (12 + len(others)) + "|")
    for cell in cells:
        found = by_method(results, cell)
        asked = ("bayes", "conditional", *plain)
        seeds = sorted(set.intersection(*[set(found.get(name, ())) for name in asked]))
        if len(seeds) < 2:
            continue
        value = {name: np.array([found[name][s]["auroc_all"] for s in seeds]) for name in asked}
        best = max(plain, key=lambda name: value[name].mean())
        ours, skip = value["conditional"], value["skip"]
        means = " | ".join(f"{value[name].mean():.4f}" for name in ("bayes", "skip", "conditional"))
        beside = [
            f"{np.mean([found[name][s]['auroc_all'] for s in seeds]):.4f}"
            if set(seeds) <= found.get(name, {}).keys()
            else ""
            for name in others
        ]
        print(
            f"| {cell.rows} | {cell.tau} | {cell.missing:.0%} | {cell.label} | {len(seeds)} | {means} "
            f"| {closed(ours - skip, value['bayes'] - skip)} | {interval(ours - value['skip + dropout'])} "
            f"| {best} | {interval(ours - value[best])} | {' | '.join(beside)} |"
        )


def ablated(results: Sequence[dict], cells: Iterable[Cell | Cohort]) -> None:
    """A Markdown table of the switches: each minus the defaults, paired by cell and seed, over all cells."""
    gains: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        found = by_method(results, cell)
        ours = found.get("conditional", {})
        for method, own in found.items():
            for seed in own.keys() & ours.keys():
                for metric in JUDGED:
                    gain = own[seed][metric] - ours[seed][metric]
                    gains.setdefault(method, {}).setdefault(metric, []).append(gain)
    print(
        f"\n| minus CM² by its defaults | fits | {' | '.join(JUDGED)} |\n" + "|---" * (2 + len(JUDGED)) + "|"
    )
    for method, own in gains.items():
        if method not in ("bayes", "conditional"):
            row = " | ".join(interval(np.array(own[metric])) for metric in JUDGED)
            print(f"| {method} | {len(own[JUDGED[0]])} | {row} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", choices=("reference", "core", "all", "nafld"), default="all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="methods whose name holds this text")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--picture", type=Path, help="draw the grid into this file (SVG, PNG, PDF)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no fit after these")
    arguments = parser.parse_args()
    chosen = {
        "reference": [cell for cell in CELLS if cell.is_reference],
        "core": [cell for cell in CELLS if cell.rows == 1000],
        "all": CELLS,
        "nafld": [Cohort()],
    }[arguments.cells]
    fits = plan(chosen, arguments.seeds, arguments.only)
    results = work(fits, arguments.out, arguments.jobs, arguments.minutes)
    show(results, chosen)
    promised(results, [cell for cell in chosen if isinstance(cell, Cell)])
    ablated(results, [cell for cell in chosen if cell.is_reference])
    if arguments.picture is not None:
        values = {"rows": ROWS, "tau": TAUS, "missing": MISSING, "label": LABELS}
        method_picture.draw(lambda *cell: gains_on_skip(results, *cell), values, arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
