"""What alignment and imputation cost beside the encoders, one thread, one run.

A training batch of the paper's size: 32 rows, two modalities, latents of width 256, mixtures of three
components. The yardsticks are a two-layer LSTM (76-256-256) over 24 steps with a two-layer LSTM fusion,
forward and backward, for the alignment; for the conditional imputation of the rows that lack the second
modality, inference of that LSTM on all rows and of another one, far cheaper than any image or text encoder,
on the rows that have it. Times are CPU milliseconds, the smallest of many repeats, alternating between what
is compared. Exits with 1 when the default family misses a limit; the others show what they cost.

    python benchmarks/step.py [--repeats 60] [--missing 0.75]
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sklar.alignment import CopulaAlignment
from sklar.copulas import FAMILIES
from sklar.encoders.series import Recurrent, RecurrentConfig
from sklar.models.fusion import FusionConfig, LSTMFusion
from sklar.types import Series

ROWS, WIDTH, COMPONENTS, STEPS, CHANNELS = 32, 256, 3, 24, 76
ALIGNMENT_LIMIT, IMPUTATION_LIMIT = 0.08, 1.0
DEFAULT = "gaussian"


def milliseconds(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The smallest CPU time of each, taken in turns so that a busy machine disturbs all alike."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    return best


def batch(missing: float) -> tuple[dict[str, Tensor], Tensor]:
    """Correlated latents of two modalities; the second is absent in a share of the rows."""
    shared = torch.randn(ROWS, WIDTH)
    z = {name: (shared + torch.randn(ROWS, WIDTH)) / 2**0.5 for name in ("ehr", "image")}
    present = torch.ones(ROWS, 2, dtype=torch.bool)
    present[: round(missing * ROWS), 1] = False
    return z, present


def aligned(family: str) -> CopulaAlignment:
    """An alignment whose mixtures have been fitted to a cache of latents in two clusters."""
    joint = CopulaAlignment({"ehr": WIDTH, "image": WIDTH}, family, COMPONENTS, warmup=512, cache=512)
    rows = torch.randn(512, WIDTH) + 0.5 * torch.randn(COMPONENTS, WIDTH)[torch.arange(512) % COMPONENTS]
    rows = (rows - rows.mean(0)) / rows.std(0)
    joint.train().loss({"ehr": rows, "image": rows.roll(1, 0)}, torch.ones(512, 2, dtype=torch.bool))
    return joint


class Step(nn.Module):
    """The paper's series encoder, fusion and head."""

    def __init__(self) -> None:
        super().__init__()
        config = RecurrentConfig(kind="lstm", hidden=WIDTH, layers=2, summaries=False, dropout=0.0)
        self.encoder = Recurrent(CHANNELS, CHANNELS, config)
        self.fusion = LSTMFusion(2, WIDTH, FusionConfig())
        self.head = nn.Linear(WIDTH, 1)

    def encode(self, series: Series) -> Tensor:
        return self.encoder.pool(self.encoder.advance(self.encoder.start(series, None), 0, 2))

    def train_on(self, series: Series, other: Tensor) -> None:
        tokens = torch.stack([self.encode(series), other], 1)
        fused = self.fusion(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
        self.head(fused).square().mean().backward()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument(
        "--missing", type=float, default=0.75, help="share of rows without the second modality"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = Step()
    series = Series(
        torch.randn(ROWS, STEPS, CHANNELS),
        torch.ones(ROWS, STEPS, dtype=torch.bool),
        torch.ones(ROWS, STEPS, CHANNELS, dtype=torch.bool),
        torch.arange(float(STEPS)).repeat(ROWS, 1),
    )
    z, partly = batch(arguments.missing)
    complete = torch.ones_like(partly)
    works: dict[str, Callable[[], object]] = {"step": lambda: step.train_on(series, z["image"])}
    observed = series.rows(partly[:, 1].nonzero().squeeze(1))
    inference: dict[str, Callable[[], object]] = {
        "encoders": lambda: (step.encode(series), step.encode(observed))
    }
    for family in [name for name in FAMILIES if name != "independence"]:
        joint = aligned(family)
        latents = {name: value.clone().requires_grad_() for name, value in z.items()}

        def align(joint=joint, latents=latents) -> None:
            torch.stack(list(joint.loss(latents, complete).values())).sum().backward()

        works[family] = align
        inference[family] = lambda joint=joint: joint.impute(z, partly)
    trained = milliseconds(works, arguments.repeats)
    with torch.no_grad():
        inferred = milliseconds(inference, arguments.repeats)
    print(
        f"{ROWS} rows, two modalities, d = {WIDTH}, K = {COMPONENTS}, one thread, torch {torch.__version__}\n"
        f"training step {trained['step']:.1f} ms, inference of the encoders {inferred['encoders']:.1f} ms; "
        f"{int((~partly).sum())} latents to impute"
    )
    print(f"{'family':<12}{'alignment':>11}{'of step':>9}{'imputation':>13}{'of inference':>14}")
    missed = []
    for family in works:
        if family == "step":
            continue
        alignment, imputation = trained[family], inferred[family]
        shares = (alignment / trained["step"], imputation / inferred["encoders"])
        print(
            f"{family:<12}{alignment:8.2f} ms{shares[0]:9.1%}{imputation:10.2f} ms{shares[1]:14.2f}",
            flush=True,
        )
        if family != DEFAULT:
            continue
        if shares[0] > ALIGNMENT_LIMIT:
            missed.append(
                f"{family}: alignment is {shares[0]:.1%} of a training step > {ALIGNMENT_LIMIT:.0%}"
            )
        if shares[1] > IMPUTATION_LIMIT:
            missed.append(f"{family}: imputation is {shares[1]:.2f} of the encoders > {IMPUTATION_LIMIT}")
    for line in missed:
        print(f"MISSED {line}")
    print(f"every limit holds for the {DEFAULT} copula" if not missed else f"{len(missed)} limits missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
