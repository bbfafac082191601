"""Tables in, probabilities out: the whole of sklar behind scikit-learn's conventions."""

from sklar.estimator.classifier import MultimodalClassifier
from sklar.estimator.evaluation import Evaluation

__all__ = ["Evaluation", "MultimodalClassifier"]
