"""Search for settings on validation rows: a space per model, many workers on one study, the best refitted."""

from sklar.tuning.search import Tuned, tune
from sklar.tuning.space import SPACES, Choice, Range, space

__all__ = ["SPACES", "Choice", "Range", "Tuned", "space", "tune"]
