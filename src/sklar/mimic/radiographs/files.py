"""Where the files of MIMIC-CXR lie: pictures, reports and tables."""

from pathlib import Path

from sklar.errors import DataError, UserError

SUFFIXES = (".csv", ".csv.gz")


def patient_folder(subject: int) -> Path:
    """The folder of a patient below ``files/``, as ``p10/p10000032``."""
    return Path(f"p{str(subject)[:2]}", f"p{subject}")


def locate(root: Path, nested: Path) -> Path | None:
    """A file below ``files/``, below the folder itself, or flat in either; None if it is nowhere."""
    places = (root / "files" / nested, root / nested, root / "files" / nested.name, root / nested.name)
    return next((place for place in places if place.is_file()), None)


def find_metadata(root: Path) -> Path:
    """The table of all pictures, ``mimic-cxr-2.0.0-metadata.csv.gz`` or of another version.

    Raises:
        UserError: The folder does not exist.
        DataError: The table is not in it, or there are several versions.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder. Give the folder of MIMIC-CXR-JPG")
    found = _tables(root, "metadata")
    if not found:
        raise DataError(
            f"{root}: no mimic-cxr-*-metadata{{{','.join(SUFFIXES)}}}, the table of all pictures. Put "
            "the file there, or give the folder of MIMIC-CXR-JPG"
        )
    if len(found) > 1:
        raise DataError(f"{root}: several versions ({', '.join(sorted(found))}); leave one in the folder")
    return next(iter(found.values()))


def find_labels(root: Path) -> Path | None:
    """The table of the studies' labels, None if it is not there."""
    return next(iter(_tables(root, "chexpert").values()), None)


def _tables(root: Path, what: str) -> dict[str, Path]:
    """Tables of a kind by name; of a compressed and a plain one the latter."""
    return {
        path.name.removesuffix(suffix): path
        for suffix in reversed(SUFFIXES)
        for path in sorted(root.glob(f"mimic-cxr-*-{what}{suffix}"))
    }
