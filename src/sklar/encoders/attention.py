"""Sizes of attention layers: the rule between them, and how transformers calls them."""

import json
from typing import Any, Protocol, TypeVar

from transformers import PreTrainedModel


class AttentionSettings(Protocol):
    """Settings of a stack of attention layers."""

    @property
    def hidden(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def dropout(self) -> float: ...


Settings = TypeVar("Settings", bound=AttentionSettings)

SIZES = {
    "hidden_size": "hidden",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "intermediate",
}
"""Fields of a configuration of transformers, and the settings that decide them."""


def heads_divide_hidden(settings: Settings) -> Settings:
    """The settings as they are.

    Raises:
        ValueError: A width that the heads do not divide.
    """
    if settings.hidden % settings.heads:
        raise ValueError(f"hidden ({settings.hidden}) must be a multiple of heads ({settings.heads})")
    return settings


def configuration(settings: AttentionSettings) -> dict[str, Any]:
    """Sizes and dropout as arguments of a configuration of transformers."""
    sizes = {theirs: getattr(settings, ours) for theirs, ours in SIZES.items()}
    dropouts = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    return sizes | dict.fromkeys(dropouts, settings.dropout)


def without_dropout(network: PreTrainedModel) -> str:
    """The configuration of a network of transformers as text, but for what matters in training alone."""
    found = network.config.to_dict()
    return json.dumps({key: own for key, own in found.items() if "dropout" not in key}, sort_keys=True)
