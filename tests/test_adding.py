"""The guide's example of a model is a model: it runs as written, and keeps the contract's first promises."""

import re
from pathlib import Path
from typing import Any

import torch

from batches import ALL, SHAPES, SOME, TINY, some_batch, with_noise_in_absent

GUIDE = Path(__file__).parents[1] / "docs/adding.md"


def test_the_example_model_trains_and_ignores_what_is_absent() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "gated"}
    exec(block, names)
    torch.manual_seed(0)
    model = names["Gated"](SHAPES, names["GatedConfig"](encoders=TINY))
    objective = model.objective(model(some_batch(SOME)), some_batch(SOME).target)
    objective.total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    model.eval()
    batch = some_batch(SOME)
    torch.testing.assert_close(model(with_noise_in_absent(batch)).logits, model(batch).logits, rtol=0, atol=0)
    nothing = some_batch(torch.zeros_like(ALL))
    assert (model(nothing).logits == model.classifier.bias).all()


def test_the_guide_names_files_and_symbols_that_exist() -> None:
    text = GUIDE.read_text()
    root = GUIDE.parents[1]
    for path in re.findall(r"`((?:src|tests)/[\w/.]+)`", text):
        assert (root / path).exists(), path
    source = (root / "src/sklar/models/__init__.py").read_text()
    for name in ("MODELS", "AnyConfig", "_create"):
        assert f"`{name}`" in text
        assert name in source
