"""Radiographs decoded once: only those that are paired, small, as grey bytes."""

import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from sklar.data.pictures import centred, open_picture
from sklar.data.schema import Augmentation, Image
from sklar.mimic.rules import Rules

SEEN = 224
"""Side of the centre that a model sees, as published; other sizes keep the proportions."""

STORED = 320 / SEEN
"""Side of the stored square per pixel seen."""

SHORT = 256 / 320
"""The shorter side after scaling, per pixel stored; the longer one, up to a quarter longer, fits in too."""

WIDTH = 512
"""The published code first saves every picture at this width."""

QUALITY = 75
"""Of that second JPEG: Pillow's default."""

CHUNK = 64
"""Pictures that are decoded before progress is told."""


def image_spec(rules: Rules, seen: int = SEEN) -> Image:
    """How radiographs are stored, seen as squares of ``seen`` pixels and, in training, changed.

    The published changes: a mirror image, a rotation by up to 45 degrees, a magnification of 0.85 to 1.15 and
    a shift by up to 0.15 of the sides, here of the shorter one. Mean and deviation are ImageNet's.
    """
    side = 2 * round(seen * STORED / 2)  # even, as what is seen should be: centres then fall on pixels
    changes = Augmentation(
        flip=0.5 if rules.image_flips == "mirrored" else 0.0,
        degrees=45.0,
        scale=(0.85, 1.15),
        translate=0.15 * SHORT,
    )
    return Image(
        height=side,
        width=side,
        channels=3,
        crop=(seen, seen),
        mean=(0.485, 0.456, 0.406),
        sd=(0.229, 0.224, 0.225),
        augmentation=changes,
        unit="hours",
    )


def decode_all(
    paths: Sequence[Path], spec: Image, rules: Rules, target: Path, say: Callable[[float], None]
) -> None:
    """Decode N pictures to the array file ``target``: (N, 1, height, width) bytes.

    Args:
        paths: The files.
        spec: The stored size.
        rules: How they are scaled.
        target: The file.
        say: Called with the fraction done.

    Raises:
        DataError: A file is no picture, is cut off, or is unreasonably large.
    """
    shape = (len(paths), 1, spec.height, spec.width)
    array = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    # threads share the list of warnings: what each of them changes is undone here as a whole
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), CHUNK):
            say(start / len(paths))
            own = paths[start : start + CHUNK]
            array[start : start + len(own)] = list(pool.map(lambda path: decode(path, spec, rules), own))
    array.flush()


def decode(
    source: str | Path | bytes, spec: Image, rules: Rules, where: str | None = None
) -> NDArray[np.uint8]:
    """(1, height, width) bytes: grey, the shorter side scaled to 0.8 of that, centred, with black around it.

    JPEG is decoded at the smallest of its scales that is at least twice as large as what is kept.

    Args:
        source: A file, or the bytes of one.
        spec: The stored size.
        rules: How it is scaled.
        where: How errors call it; a file by its path.

    Raises:
        DataError: The file is no picture, is cut off, or is unreasonably large.
    """
    kept = round(SHORT * spec.height)
    least = max(2 * kept, WIDTH) if rules.image_pixels == "resaved" else 2 * kept
    grey = open_picture(source, "L", (least, least), where or str(source))
    if rules.image_pixels == "resaved":
        grey = _resaved(grey.resize((WIDTH, int(grey.height * WIDTH / grey.width))))
    short = min(grey.size)
    width, height = (int(kept * side / short) for side in grey.size)
    return centred(grey.resize((width, height), Pillow.Resampling.BILINEAR), spec.height, spec.width)


def _resaved(picture: Pillow.Image) -> Pillow.Image:
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=QUALITY)
    again = Pillow.open(stream)
    again.load()
    return again
