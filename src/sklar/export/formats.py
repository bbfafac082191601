"""The files that a model is exported to; each is read back and compared before anybody sees it."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.export import Dim, ExportedProgram

from sklar.errors import UserError
from sklar.export.check import difference
from sklar.export.graph import NOISE, PROBABILITY, Graph
from sklar.models import FusionModel

EXTRA = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Source:
    """What is exported, and what it answers.

    Attributes:
        model: The trained model.
        graph: The same as one function.
        tensors: Inputs to compare on.
        own: (S, B, K) what the graph answers to them before it is written.
    """

    model: FusionModel
    graph: Graph
    tensors: Mapping[str, Tensor]
    own: Tensor

    @cached_property
    def program(self) -> ExportedProgram:
        """The graph as torch.export sees it, for any number of rows and of draws."""
        batch, draws = Dim("batch", min=1, max=2**20), Dim("draws", min=1, max=2**16)
        sizes = tuple({0: draws if name == NOISE else batch} for name in self.tensors)
        with _quiet():
            # strict: what Python calls the length of a batch then stays a symbol
            return torch.export.export(
                self.graph, tuple(self.tensors.values()), dynamic_shapes=(sizes,), strict=True
            )


class Format(Protocol):
    """Writes a file into a folder and says how far the file's answers are from the graph's."""

    def __call__(self, source: Source, folder: Path) -> float: ...


def write_safetensors(source: Source, folder: Path) -> float:
    """The weights as the run keeps them, one file for all members: for `sklar.export.load`."""
    path = folder / "model.safetensors"
    state = {name: own.contiguous() for name, own in source.model.state_dict().items()}
    save_file(state, path)
    read = load_file(path)
    if read.keys() != state.keys():
        return torch.inf
    return max(difference(read[name], own) for name, own in state.items() if own.numel())


def write_pt2(source: Source, folder: Path) -> float:
    """A program of torch.export, which needs torch and nothing of sklar."""
    path = folder / "model.pt2"
    torch.export.save(source.program, path)
    read = torch.export.load(path).module()
    with torch.no_grad():
        return difference(read(*source.tensors.values()), source.own)


def write_onnx(source: Source, folder: Path) -> float:
    """An ONNX file, which needs no torch either."""
    import onnxruntime

    path = folder / "model.onnx"
    with _quiet():
        written = torch.onnx.export(
            source.program,
            dynamo=True,
            optimize=False,  # the runtime does it when it opens the file
            verbose=False,
            input_names=list(source.graph.names),
            output_names=[PROBABILITY],
        )
        assert written is not None, "a program is returned where no file is named"
        written.save(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {name: own.numpy() for name, own in source.tensors.items()}
    return difference(torch.from_numpy(session.run(None, given)[0]), source.own)


FORMATS: dict[str, Format] = {"safetensors": write_safetensors, "pt2": write_pt2, "onnx": write_onnx}
"""Every format by name."""

LIMITS: dict[str, float] = {"safetensors": 0.0, "pt2": 0.0, "onnx": 1e-5}
"""The largest difference with which a file is kept."""


def check_formats(names: list[str]) -> None:
    """Refuse a format that there is not, or whose packages are missing.

    Raises:
        UserError: With what to do.
    """
    for name in names:
        if name not in FORMATS:
            raise UserError(f"no format {name!r}: choose from {', '.join(FORMATS)}")
    if "onnx" in names and (lost := [own for own in EXTRA if find_spec(own) is None]):
        raise UserError(f'ONNX needs {lost[0]}, which is not installed: pip install "sklar[export]"')


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of their own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
