"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from sklar import MultimodalClassifier

SKIPPED = {
    "check_array_api_input": "needs an environment that turns scipy's array API on before it is imported",
    "check_classifiers_multilabel_output_format_decision_function": "there is no decision_function",
}
"""Checks that do not apply, at most ten, each with its reason."""

SETTINGS = {
    "training.batch_size": 64,
    "training.learning_rate": 0.05,
    "training.patience": 12,
    "training.draws": 1,
    "training.validation_draws": 1,
    "model.encoders.dim": 8,
    "model.encoders.table.hidden": 8,
}
CHECKS = list(estimator_checks_generator(MultimodalClassifier(max_epochs=12, settings=SETTINGS)))


def name(check):
    return getattr(getattr(check, "func", check), "__name__", str(check))


def test_at_most_ten_checks_are_skipped_and_all_of_them_exist():
    assert len(SKIPPED) <= 10
    assert set(SKIPPED) <= {name(check) for _, check in CHECKS}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "check"),
    [(estimator, check) for estimator, check in CHECKS if name(check) not in SKIPPED],
    ids=[name(check) for _, check in CHECKS if name(check) not in SKIPPED],
)
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)
