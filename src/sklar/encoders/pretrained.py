"""Weights from this machine for networks of transformers; a load in part is refused."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from sklar.encoders.torchvision import renamed
from sklar.errors import DataError, UserError
from sklar.weights import CONFIG, SCRATCH, TENSORS, Weights, locate

HEADS = re.compile(
    r"(^|\.)(fc|classifier|cls|pooler|lm_head|head|mask_token|fit_denses?|discriminator_predictions|"
    r"vocab_(transform|layer_norm|projector)|position_ids)(\.|$)"
)
"""Tensors that an encoder has no use for: the head of the task that the weights were trained on."""

COUNTERS = "num_batches_tracked"
"""Of batch norm; older files lack it and nothing reads it."""


@dataclass(frozen=True)
class Loaded:
    """What became of the tensors of a file.

    Attributes:
        weights: Where they came from.
        tensors: How many were loaded.
        left_out: Names of those of the former head.
    """

    weights: Weights
    tensors: int
    left_out: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """For the record of a run."""
        about = self.weights.record()
        return {
            "source": about.pop("name"),
            "tensors": self.tensors,
            "left_out": list(self.left_out),
            "provenance": about,
        }


def fill(
    network: PreTrainedModel, given: str, section: str, settings: Mapping[str, str], **build: Any
) -> Loaded | None:
    """Load the weights that a setting names into a network of the same architecture.

    Images of one channel take the first kernel of a network for three summed over its channels: what it
    would answer to three equal ones.

    Args:
        network: Freshly built; its configuration says what the settings ask for.
        given: ``scratch`` (then nothing happens), a name or a path.
        section: Of the settings, for messages.
        settings: What the settings call the fields of the configuration that must agree.
        build: Further arguments of the network's class.

    Raises:
        UserError: There are no such weights, or they are of another size than the settings say.
        DataError: They are of another architecture, broken, or do not fill the network.
    """
    if given == SCRATCH:
        return None
    found = locate(given)
    if (found.path / CONFIG).is_file():
        theirs = _config(found, network)
        _agree(network.config, theirs, found, section, settings)
        tensors, left_out = _read(type(network), theirs, found, build)
    else:
        file = found.path / TENSORS if found.path.is_dir() else found.path
        tensors, left_out = renamed(load_file(file)), ()
    return _install(network, tensors, left_out, found)


def _config(found: Weights, network: PreTrainedModel) -> PretrainedConfig:
    wanted = network.config.model_type
    if found.architecture != wanted:
        raise DataError(
            f"weights {found.name!r} are a {found.architecture!r}, the settings ask for a {wanted!r}: "
            "choose other weights or another kind"
        )
    content = json.loads((found.path / CONFIG).read_text(encoding="utf-8"))
    theirs: PretrainedConfig = type(network.config).from_dict(content)
    return theirs


def _agree(
    ours: PretrainedConfig,
    theirs: PretrainedConfig,
    found: Weights,
    section: str,
    settings: Mapping[str, str],
) -> None:
    def value(config: PretrainedConfig, field: str) -> Any:
        own = getattr(config, field)
        return tuple(own) if isinstance(own, list) else own

    differ = [f for f in settings if value(ours, f) != value(theirs, f)]
    if differ:
        here = ", ".join(f"{section}.{settings[f]} is {value(ours, f)}" for f in differ)
        there = ", ".join(f"{settings[f]} {value(theirs, f)}" for f in differ)
        raise UserError(f"{here}; weights {found.name!r} have {there}: change the settings, or the weights")


def _read(
    kind: type[PreTrainedModel], config: PretrainedConfig, found: Weights, build: Mapping[str, Any]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors by the names of the installed version of transformers, and those that it has no place for."""
    loading: Any = kind.from_pretrained
    with _quietly():
        network, report = loading(
            found.path,
            config=deepcopy(config),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, all at once
            dtype="float32",
            **build,
        )
    # names alone, or names with both shapes, by the version of transformers
    wrong = sorted(item if isinstance(item, str) else str(item[0]) for item in report["mismatched_keys"])
    missing = sorted(set(report["missing_keys"]))
    _refuse(found, missing, sorted(report["unexpected_keys"]), wrong)
    return dict(network.state_dict()), tuple(sorted(report["unexpected_keys"]))


def _install(
    network: PreTrainedModel, tensors: Mapping[str, Tensor], left_out: tuple[str, ...], found: Weights
) -> Loaded:
    wanted = dict(network.state_dict())
    tensors = {key: _narrow(tensor, wanted.get(key)) for key, tensor in tensors.items()}
    extra = sorted(set(tensors) - set(wanted))
    missing = sorted(key for key in set(wanted) - set(tensors) if not key.endswith(COUNTERS))
    wrong = [
        f"{key} is {tuple(tensors[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in sorted(set(wanted) & set(tensors))
        if tensors[key].shape != wanted[key].shape
    ]
    _refuse(found, missing, extra, wrong)
    own = {key: tensor for key, tensor in tensors.items() if key in wanted}
    network.load_state_dict(own, strict=False)
    return Loaded(found, len(own), tuple(sorted({*left_out, *extra})))


def _narrow(tensor: Tensor, wanted: Tensor | None) -> Tensor:
    if wanted is not None and tensor.ndim == 4 and (tensor.shape[1], wanted.shape[1]) == (3, 1):
        return tensor.sum(1, keepdim=True)
    return tensor


def _refuse(found: Weights, missing: list[str], extra: list[str], wrong: list[str]) -> None:
    """Raise unless the tensors fill the network and nothing but a former head is left over."""
    strange = [key for key in extra if not HEADS.search(key)]
    found_out = {"missing": missing, "unknown": strange, "of another shape": wrong}
    told = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in found_out.items()
        if keys
    ]
    if told:
        raise DataError(
            f"weights {found.name!r} do not fit: tensors {'; '.join(told)}. They are of another architecture "
            "or not whole, and are not loaded in part"
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """What transformers would print is told by the errors here."""
    untyped: Any = logging
    bar, level = untyped.is_progress_bar_enabled(), untyped.get_verbosity()
    untyped.disable_progress_bar()
    untyped.set_verbosity_error()
    try:
        yield
    finally:
        untyped.set_verbosity(level)
        if bar:
            untyped.enable_progress_bar()
