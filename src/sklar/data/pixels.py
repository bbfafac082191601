"""From stored bytes to the pixels that a model sees, a batch at a time."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from sklar.data.schema import Augmentation, Image

Uniforms = NDArray[np.float64]
"""(B, 5) uniform numbers: mirror, angle, magnification, shift down, shift right."""
COUNT = np.uint64(5)


def to_pixels(
    stored: UInt8[Tensor, "b s height width"], spec: Image, uniforms: Uniforms | None = None
) -> Float[Tensor, "b c h w"]:
    """Change, crop and normalise pictures.

    Args:
        stored: Grey (S = 1) or in colour (S = 3).
        spec: Sizes, crop, mean and standard deviation.
        uniforms: What `Augmentation` draws from; None leaves the pictures as they are.
    """
    pixels = stored.float()
    if uniforms is not None:
        pixels = _augment(pixels, spec.augmentation, uniforms)
    (height, width), (top, left) = spec.shape, _corner(stored, spec)
    pixels = pixels[..., top : top + height, left : left + width] / 255
    mean, sd = (torch.tensor(value).view(-1, 1, 1) for value in (spec.mean, spec.sd))
    return (pixels - mean) / sd


def epoch_uniforms(seed: int, epoch: int, rows: NDArray[np.integer[Any]]) -> Uniforms:
    """(B, 5) uniforms in [0, 1) that depend on nothing but the seed, the epoch and the row.

    SplitMix64 (Steele, Lea & Flood 2014) at a counter of row and column, from a start that seed and epoch
    choose.
    """
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    place = np.asarray(rows, dtype=np.uint64)[:, None] * COUNT + np.arange(1, COUNT + 1, dtype=np.uint64)
    bits = np.asarray(state + place * np.uint64(0x9E3779B97F4A7C15), dtype=np.uint64)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


def _corner(stored: Tensor, spec: Image) -> tuple[int, int]:
    height, width = spec.shape
    # half a pixel goes to the even side, as in the field's centre crops
    return round((stored.shape[-2] - height) / 2), round((stored.shape[-1] - width) / 2)


def _augment(
    pixels: Float[Tensor, "b s h w"], how: Augmentation, uniforms: Uniforms
) -> Float[Tensor, "b s h w"]:
    """Mirror, rotate, magnify and shift about the centre; nearest pixel, zero outside."""
    mirror, angle, size, down, right = torch.from_numpy(uniforms).float().T
    height, width = pixels.shape[-2:]
    turn = (2 * angle - 1) * math.radians(how.degrees)
    magnify = how.scale[0] + size * (how.scale[1] - how.scale[0])
    rows, columns = (
        ((2 * share - 1) * how.translate * side).round() for share, side in ((down, height), (right, width))
    )
    flip = 1 - 2 * (mirror < how.flip).float()
    cos, sin = turn.cos() / magnify, turn.sin() / magnify
    # output to input in pixels about the centre: p -> F R(-turn) (p - t) / magnify, F the mirror
    shift_x = -(cos * columns + sin * rows)
    shift_y = sin * columns - cos * rows
    first = torch.stack([flip * cos, flip * sin * height / width, flip * 2 * shift_x / width], 1)
    second = torch.stack([-sin * width / height, cos, 2 * shift_y / height], 1)
    grid = affine_grid(torch.stack([first, second], 1), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, mode="nearest", padding_mode="zeros", align_corners=False)
