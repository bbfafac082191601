"""Modalities as sequences of tokens, for models that fuse before anything is pooled."""

from collections.abc import Mapping
from typing import Literal, cast, final

from torch import nn

from sklar.encoders import EncoderConfig, Encoders, Feature, InputShape, SeriesShape, backbones, require
from sklar.encoders.series import require_channels
from sklar.types import Batch, Series

Reading = Literal["raw", "backbone"]
"""Whether a model reads the steps of a series as they come, or the states that a backbone has for them."""


@final
class Sequences(nn.Module):
    """Per modality the tokens of its backbone, or the plain steps of a series.

    Args:
        shapes: Of every modality's input.
        config: Of the encoders.
        series: How series are read; "raw" ones have no backbone.
        untimed: "pooled" makes one token of a modality whose tokens have no times of their own, such as the
            pixels of an image; "tokens" leaves them.

    Attributes:
        encoders: The backbones.
        series: Names of the modalities that are series.
        widths: Channels of each modality's tokens.
    """

    def __init__(
        self,
        shapes: Mapping[str, InputShape],
        config: EncoderConfig,
        series: Reading,
        untimed: Literal["tokens", "pooled"] = "tokens",
    ) -> None:
        super().__init__()
        self.names = tuple(shapes)
        self.series = tuple(name for name, shape in shapes.items() if isinstance(shape, SeriesShape))
        self.channels = {
            name: shape.channels
            for name, shape in shapes.items()
            if isinstance(shape, SeriesShape) and series == "raw"
        }
        made = backbones({name: s for name, s in shapes.items() if name not in self.channels}, config)
        ends = {
            name: backbone.tap("tokens")
            for name, backbone in made.items()
            if untimed == "tokens" or backbone.timed
        }
        widths = {
            name: backbone.widths[ends[name] - 1] if name in ends else backbone.out_dim
            for name, backbone in made.items()
        }
        self.widths = {name: (self.channels | widths)[name] for name in self.names}
        self.encoders = Encoders(made, config.dim, "skip", "never", ends)

    def forward(self, batch: Batch) -> dict[str, Feature]:
        """Tokens of the rows that have a modality; modalities that no row has lack."""
        require(batch, self.names)
        encoded = self.encoders(batch.only(self.encoders.modalities))
        found = dict(encoded.features)
        for name, vector in encoded.pooled.items():
            if name in found:
                found[name] = Feature(vector.unsqueeze(1), batch.has(name).unsqueeze(1), None, len(batch))
        found |= {name: _steps(batch, name, width) for name, width in self.channels.items()}
        return {name: found[name] for name in self.names if name in found and len(found[name].x)}


def _steps(batch: Batch, name: str, channels: int) -> Feature:
    series = cast(Series, batch.inputs[name])
    require_channels(series, channels)
    rows = batch.has(name).nonzero().squeeze(1)
    return Feature(series.values[rows], series.valid[rows], rows, len(batch))
