"""Align and fuse modalities with copulas, and predict when some of them are missing."""

from sklar._version import __version__

__all__ = ["__version__"]
