"""What single predictions were made from: integrated gradients of features, Shapley shares of modalities."""

from sklar.explanation.explain import Explanation, explain
from sklar.explanation.features import COLUMNS
from sklar.explanation.gradients import Gradients, integrated_gradients
from sklar.explanation.runs import (
    EXPLANATION,
    explain_run,
    explanation_dict,
    kept_at,
    largest,
    read_explanation,
    write_explanation,
)

__all__ = [
    "COLUMNS",
    "EXPLANATION",
    "Explanation",
    "Gradients",
    "explain",
    "explain_run",
    "explanation_dict",
    "integrated_gradients",
    "kept_at",
    "largest",
    "read_explanation",
    "write_explanation",
]
