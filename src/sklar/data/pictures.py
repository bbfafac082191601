"""Picture files to arrays of one size."""

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from sklar.data.schema import Image
from sklar.errors import DataError

MOST_PIXELS = 50_000_000
"""Of a picture from a stranger: a radiograph has ten million."""


def read_picture(source: str | Path | bytes, spec: Image, where: str) -> NDArray[np.uint8]:
    """(S, height, width) a picture that covers the stored size; S is 1 for grey and 3 for colour.

    It is scaled so that both sides are at least as long as wanted, keeping its proportions, and its centre
    is kept. A JPEG file is decoded at a reduced size where that loses nothing.

    Args:
        source: A file, or the bytes of one.
        spec: The stored size; pictures are read as grey when its models see one channel.
        where: How errors call it.

    Raises:
        DataError: The file is missing, is no picture, is cut off, or is far too large.
    """
    mode = "L" if spec.channels == 1 else "RGB"
    return covering(open_picture(source, mode, (spec.width, spec.height), where), spec)


def covering(picture: Pillow.Image, spec: Image) -> NDArray[np.uint8]:
    """(S, height, width) the centre of a picture, scaled so that it just covers the stored size."""
    scale = max(spec.width / picture.width, spec.height / picture.height)
    size = max(round(picture.width * scale), spec.width), max(round(picture.height * scale), spec.height)
    return centred(picture.resize(size, Pillow.Resampling.BILINEAR), spec.height, spec.width)


def check_picture(content: bytes) -> None:
    """Look at the head of a picture file from a stranger, without decoding it.

    Raises:
        DataError: It is no picture, or one that would fill the memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # the limit is ours
            with Pillow.open(io.BytesIO(content)) as opened:
                width, height = opened.size
    except Pillow.DecompressionBombError:
        width, height = MOST_PIXELS, MOST_PIXELS
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise DataError("these bytes are no picture file (PNG, JPEG, ...)") from None
    if width * height > MOST_PIXELS:
        raise DataError(f"the picture has more than {MOST_PIXELS:,} pixels: scale it down")


def open_picture(source: str | Path | bytes, mode: str, least: tuple[int, int], where: str) -> Pillow.Image:
    """A decoded picture in ``mode`` that is at least ``least`` (width, height) where the original is.

    Raises:
        DataError: As `read_picture`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            with Pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
                opened.draft(mode, least)
                return opened.convert(mode)
    except FileNotFoundError:
        raise DataError(f"{where}: there is no file {source!s}. Give its right path, or null") from None
    except (Pillow.DecompressionBombWarning, Pillow.DecompressionBombError) as error:
        raise DataError(f"{where}: the picture is too large to be one ({error}). Leave it out") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{where}: the picture cannot be read ({error}). Fetch it again, or leave it out"
        ) from None


def centred(picture: Pillow.Image, height: int, width: int) -> NDArray[np.uint8]:
    """(S, height, width) the centre of a picture, with black around it where it is smaller."""
    pixels = np.asarray(picture, dtype=np.uint8)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    out = np.zeros((len(pixels), height, width), dtype=np.uint8)
    rows, to_rows = _overlap(pixels.shape[1], height)
    columns, to_columns = _overlap(pixels.shape[2], width)
    out[:, to_rows, to_columns] = pixels[:, rows, columns]
    return out


def _overlap(length: int, wanted: int) -> tuple[slice, slice]:
    """What to take of a side of ``length``, and where it goes in one of ``wanted``, centre on centre."""
    if length >= wanted:
        start = round((length - wanted) / 2)
        return slice(start, start + wanted), slice(None)
    start = round((wanted - length) / 2)
    return slice(None), slice(start, start + length)
