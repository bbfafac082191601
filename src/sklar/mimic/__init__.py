"""From raw MIMIC-III and MIMIC-IV tables to a prepared folder."""

from sklar.mimic.audit import audit_mimic
from sklar.mimic.compiled import compiled
from sklar.mimic.plan import Reading, plan
from sklar.mimic.prepare import prepare
from sklar.mimic.rules import COMPAT, STRICT, Rules, resolve

__all__ = ["COMPAT", "STRICT", "Reading", "Rules", "audit_mimic", "compiled", "plan", "prepare", "resolve"]
