"""The first line of a raw table as text."""

import csv
import gzip
from pathlib import Path

from sklar.errors import DataError


def read_header(path: Path) -> list[str]:
    """Names of the columns of a .csv or .csv.gz, quoted or not.

    Raises:
        DataError: The file is damaged or empty, or names a column twice.
    """
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open("rt") as stream:
            names = next(csv.reader(stream), [])
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Copy or download the file again") from None
    if not names:
        raise DataError(f"{path}: the file is empty. Copy or download it again")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: column {repeated[0]!r} is in the header twice; keep one")
    return names
