"""From raw MIMIC-III and MIMIC-IV tables to a prepared folder.

The names below are loaded when they are first used: what reads new patients needs no engine for raw tables.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklar.mimic.audit import audit_mimic as audit_mimic
    from sklar.mimic.preparation import prepare as prepare
    from sklar.mimic.queries import compiled as compiled
    from sklar.mimic.reading import Reading as Reading
    from sklar.mimic.reading import plan as plan
    from sklar.mimic.rules import COMPAT as COMPAT
    from sklar.mimic.rules import STRICT as STRICT
    from sklar.mimic.rules import Rules as Rules
    from sklar.mimic.rules import resolve as resolve

_HOME = {
    "COMPAT": "sklar.mimic.rules",
    "STRICT": "sklar.mimic.rules",
    "Reading": "sklar.mimic.reading",
    "Rules": "sklar.mimic.rules",
    "audit_mimic": "sklar.mimic.audit",
    "compiled": "sklar.mimic.queries",
    "plan": "sklar.mimic.reading",
    "prepare": "sklar.mimic.preparation",
    "resolve": "sklar.mimic.rules",
}

__all__ = ["COMPAT", "STRICT", "Reading", "Rules", "audit_mimic", "compiled", "plan", "prepare", "resolve"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sklar.mimic' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
