"""Residual networks under the names that torchvision gives their tensors."""

import re
from collections.abc import Mapping

from torch import Tensor

RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(f"^{pattern}$"), replacement)
    for pattern, replacement in (
        (r"conv1\.(\w+)", r"embedder.embedder.convolution.\1"),
        (r"bn1\.(\w+)", r"embedder.embedder.normalization.\1"),
        (r"layer(\d)\.(\d+)\.conv(\d)\.(\w+)", r"encoder.stages.<\1>.layers.\2.layer.<\3>.convolution.\4"),
        (r"layer(\d)\.(\d+)\.bn(\d)\.(\w+)", r"encoder.stages.<\1>.layers.\2.layer.<\3>.normalization.\4"),
        (r"layer(\d)\.(\d+)\.downsample\.0\.(\w+)", r"encoder.stages.<\1>.layers.\2.shortcut.convolution.\3"),
        (
            r"layer(\d)\.(\d+)\.downsample\.1\.(\w+)",
            r"encoder.stages.<\1>.layers.\2.shortcut.normalization.\3",
        ),
    )
)
"""Pattern and replacement; a number in angle brackets counts from one there and from zero here."""


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of transformers' ResNet; unknown names stay."""
    return {_rename(name): tensor for name, tensor in tensors.items()}


def _rename(name: str) -> str:
    for pattern, replacement in RULES:
        if pattern.match(name):
            return re.sub(r"<(\d)>", lambda found: str(int(found[1]) - 1), pattern.sub(replacement, name))
    return name
