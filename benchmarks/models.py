"""What every model costs at the paper's sizes, beside its encoders and a concatenation; one thread, one run.

A two-layer LSTM (76-256-256) over 24 steps and a ResNet34 on 224 x 224 pixels, latents of width 256, one
label, batches of eight rows with both modalities. The yardstick is Unified without heads: the same encoders,
a concatenation and a linear map. Each model takes turns with it, and the ratio of the smallest CPU times is
printed, of a training step (forward, backward, AdamW) and of inference. Then, what it saves on a batch of 25
rows, 19 of which lack the image, to encode present rows only ("skip") instead of blank images as well
("zero_input"). Exits with 1 when CM2 or MedFuse misses its limit.

    python benchmarks/models.py [--repeats 5] [--model cm2 --model medfuse]
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from sklar.encoders import EncoderConfig, Encoders, ImageShape, InputShape, SeriesShape, build
from sklar.models import MODELS, FusionModel, ModelConfig, create
from sklar.types import Batch, Image, Series

STEPS, CHANNELS, VALUES, SIDE = 24, 76, 59, 224
LIMITS = {"cm2": 1.10, "medfuse": 1.05}
SHAPES: dict[str, InputShape] = {"ehr": SeriesShape(CHANNELS, VALUES), "cxr": ImageShape(3, SIDE, SIDE)}
ENCODERS = EncoderConfig.model_validate(
    {
        "dim": 256,
        "projection": "where_needed",
        "series": {"kind": "lstm", "hidden": 256, "layers": 2, "summaries": False},
        "image": {"kind": "resnet34"},
    }
)
SETTINGS: dict[str, dict[str, Any]] = {
    # the mixtures are fitted after the first rows, as they are for most of a training
    "cm2": {"alignment": {"warmup": 16}},
    "single": {"modality": "cxr"},
}


def made(name: str, settings: dict[str, Any]) -> FusionModel:
    torch.manual_seed(0)
    config: ModelConfig = TypeAdapter(ModelConfig).validate_python(
        {"name": name, "encoders": ENCODERS, **settings}
    )
    return create(SHAPES, config)


def rows(present: Tensor) -> Batch:
    torch.manual_seed(1)
    count = len(present)
    series = Series(
        torch.randn(count, STEPS, CHANNELS),
        torch.ones(count, STEPS, dtype=torch.bool),
        torch.rand(count, STEPS, VALUES) < 0.5,
        torch.arange(float(STEPS)).repeat(count, 1),
    )
    image = Image(torch.randn(count, 3, SIDE, SIDE))
    return Batch({"ehr": series, "cxr": image}, present, (torch.rand(count) < 0.5).float())


def stepper(model: FusionModel, batch: Batch) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)

    def step() -> None:
        model.train()
        optimiser.zero_grad()
        model.objective(model(batch), batch.target).total.backward()
        optimiser.step()

    return step


def predictor(model: FusionModel, batch: Batch) -> Callable[[], None]:
    @torch.no_grad()
    def predict() -> None:
        model.eval().predict_proba(batch)

    return predict


def encoder(bank: Encoders, batch: Batch) -> Callable[[], None]:
    def step() -> None:
        bank.zero_grad()
        torch.stack(list(bank(batch).latents.values())).square().mean().backward()

    return step


def seconds(works: list[Callable[[], None]], repeats: int) -> list[float]:
    """The smallest CPU time of each, taken in turns so that a busy machine disturbs all alike."""
    best = [float("inf")] * len(works)
    for work in works * 2:
        work()
    for _ in range(repeats):
        for index, work in enumerate(works):
            start = time.process_time()
            work()
            best[index] = min(best[index], time.process_time() - start)
    return best


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", action="append", choices=list(MODELS), help="this one only; repeatable")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    batch = rows(torch.ones(8, 2, dtype=torch.bool))
    yardstick = made("unified", {"head_weight": 0})
    print(
        f"{len(batch)} rows, LSTM and ResNet34, one thread, torch {torch.__version__}\n"
        f"encoders and concatenation: {parameters(yardstick):,} parameters\n"
        f"{'model':<14}{'parameters':>12}{'step':>10}{'of it':>8}{'inference':>12}{'of it':>8}"
    )
    missed = []
    for name in arguments.model or MODELS:
        model = made(name, SETTINGS.get(name, {}))
        plain, own = seconds([stepper(yardstick, batch), stepper(model, batch)], arguments.repeats)
        quick, fast = seconds([predictor(yardstick, batch), predictor(model, batch)], arguments.repeats)
        print(
            f"{name:<14}{parameters(model):12,}{1e3 * own:7.0f} ms{own / plain:8.3f}{1e3 * fast:9.0f} ms"
            f"{fast / quick:8.3f}",
            flush=True,
        )
        if own / plain > LIMITS.get(name, float("inf")):
            missed.append(
                f"{name}: a step is {own / plain:.3f} of encoders and concatenation > {LIMITS[name]}"
            )
    missing = torch.ones(25, 2, dtype=torch.bool)
    missing[6:, 1] = False
    partly = rows(missing)
    skip, blank = seconds(
        [encoder(build(SHAPES, ENCODERS, absent), partly) for absent in ("skip", "zero_input")],
        arguments.repeats,
    )
    print(
        f"encoders on {len(partly)} rows of which {int((~missing).sum())} lack the image: present rows only "
        f"{1e3 * skip:.0f} ms, blank images as well {1e3 * blank:.0f} ms; {1 - skip / blank:.0%} saved"
    )
    for line in missed:
        print(f"MISSED {line}")
    print("every limit holds" if not missed else f"{len(missed)} limits missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
