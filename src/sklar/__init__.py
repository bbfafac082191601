"""Align and fuse modalities with copulas, and predict when some of them are missing.

The names below are loaded when they are first used, so that ``import sklar`` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sklar._version import __version__

if TYPE_CHECKING:
    from sklar.alignment import CopulaAlignment as CopulaAlignment
    from sklar.data.schema import Image as Image
    from sklar.data.schema import Schema as Schema
    from sklar.data.schema import Tabular as Tabular
    from sklar.data.schema import Text as Text
    from sklar.data.schema import TimeSeries as TimeSeries
    from sklar.data.store import PreparedData as PreparedData
    from sklar.estimator import MultimodalClassifier as MultimodalClassifier
    from sklar.runs import Run as Run
    from sklar.types import Batch as Batch

_HOME = {
    "Batch": "sklar.types",
    "CopulaAlignment": "sklar.alignment",
    "Image": "sklar.data.schema",
    "MultimodalClassifier": "sklar.estimator",
    "PreparedData": "sklar.data.store",
    "Run": "sklar.runs",
    "Schema": "sklar.data.schema",
    "Tabular": "sklar.data.schema",
    "Text": "sklar.data.schema",
    "TimeSeries": "sklar.data.schema",
}

__all__ = [
    "Batch",
    "CopulaAlignment",
    "Image",
    "MultimodalClassifier",
    "PreparedData",
    "Run",
    "Schema",
    "Tabular",
    "Text",
    "TimeSeries",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sklar' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
