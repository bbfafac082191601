"""The NAFLD comparison over five seeds of split and initialisation, with the demo's own configuration.

Prints the mean test AUROC and AUPR of every model with the spread over seeds, the mean difference to CM²,
and whether the targets hold: CM² at least the better of boosting and logistic regression minus .015, and at
least MedFuse, Unified and every single modality. Finished runs are kept, so an interrupted benchmark goes
on. Exit code 1 when a target is missed.

    python benchmarks/nafld.py [--out runs/benchmark] [--seeds 5] [--set KEY=VALUE ...]
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from sklar.experiments.nafld import SINGLES, compare
from sklar.report import as_dict

MARGIN = 0.015


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    values: dict[str, dict[str, list[float]]] = {}
    pairs = []
    for seed in range(options.seeds):
        done = compare(options.out / f"seed-{seed}", seed, settings=options.settings)
        content = as_dict(done.results)
        for name, row in content["models"].items():
            for metric in ("auroc", "average_precision"):
                values.setdefault(name, {}).setdefault(metric, []).append(row[metric]["value"])
        alignment = json.loads((done.runs["cm2"] / "metrics.json").read_text())["alignment"]
        pairs.append((alignment["log_density_true"], alignment["log_density_shuffled"]))
        found = " ".join(f"{name} {row['auroc']['value']:.4f}" for name, row in content["models"].items())
        print(f"seed {seed} ({done.seconds:.0f} s): {found}", flush=True)
    return summarise(values, pairs)


def summarise(values: dict[str, dict[str, list[float]]], pairs: list[tuple[float, float]]) -> int:
    mean = {name: float(np.mean(own["auroc"])) for name, own in values.items()}
    reference = np.array(values["cm2"]["auroc"])
    print(f"\n{'model':<22}{'AUROC':>8}{'sd':>8}{'AUPR':>8}{'CM² minus it':>15}{'standard error':>16}")
    for name in sorted(mean, key=lambda n: -mean[n]):
        own = np.array(values[name]["auroc"])
        difference = reference - own
        error = difference.std(ddof=min(1, len(own) - 1)) / np.sqrt(len(own))
        aupr = float(np.mean(values[name]["average_precision"]))
        line = f"{name:<22}{mean[name]:>8.4f}{own.std():>8.4f}{aupr:>8.4f}"
        print(f"{line}{difference.mean():>+15.4f}{error:>16.4f}")
    for seed, (true, shuffled) in enumerate(pairs):
        print(
            f"seed {seed}: log copula density a coordinate, true pairs {true:+.4f}, shuffled {shuffled:+.4f}"
        )
    best = max(mean["gradient_boosting"], mean["logistic_regression"])
    checks = {f"cm2 >= better of boosting and logistic regression ({best:.4f}) - {MARGIN}": best - MARGIN}
    checks |= {f"cm2 >= {name}": mean[name] for name in ("medfuse", "unified", *SINGLES)}
    verdicts = {text: mean["cm2"] >= bound for text, bound in checks.items()}
    verdicts["true pairs above shuffled pairs for every seed"] = all(true > other for true, other in pairs)
    for text, holds in verdicts.items():
        print(f"{'holds ' if holds else 'MISSED'} {text}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
