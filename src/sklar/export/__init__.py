"""A trained model as files that other programs run: inputs, presence mask and noise to probabilities."""

from sklar.export.conditional import CONDITIONALS
from sklar.export.folder import CONTRACT, Exported, export, graph_of, load
from sklar.export.formats import FORMATS
from sklar.export.graph import EXPORTABLE

__all__ = ["CONDITIONALS", "CONTRACT", "EXPORTABLE", "FORMATS", "Exported", "export", "graph_of", "load"]
