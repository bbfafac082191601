"""From the parameters of an estimator to the configuration of a run."""

import json
from collections.abc import Mapping
from typing import Any

from sklar.data.schema import Schema
from sklar.errors import UserError, nearest
from sklar.estimator.outcome import Outcome
from sklar.models import MODELS
from sklar.training.config import RunConfig, resolve


def configuration(
    fusion: str,
    outcome: Outcome,
    schema: Schema,
    seed: int,
    *,
    copula: str | None,
    max_epochs: int,
    settings: Mapping[str, Any] | None,
    class_weight: str | Mapping[Any, float] | None,
    calibration: str,
) -> RunConfig:
    """The resolved settings; the parameters are those of `MultimodalClassifier`.

    Raises:
        UserError: There is no such fusion, setting or class, or a value is outside its domain.
    """
    if fusion not in MODELS:
        raise UserError(f"no fusion {fusion!r}; choose one of {', '.join(MODELS)}{nearest(fusion, MODELS)}")
    family = {} if copula is None else {"model.alignment.family": copula}
    changes = [f"{key}={json.dumps(value)}" for key, value in {**family, **(settings or {})}.items()]
    training = {"max_epochs": max_epochs, "class_weight": _class_weight(class_weight, outcome, schema)}
    return resolve(fusion, changes, seed=seed, training=training, calibration={"method": calibration})


def _class_weight(given: str | Mapping[Any, float] | None, outcome: Outcome, schema: Schema) -> Any:
    if given is None or isinstance(given, str):
        return given or "none"
    names = schema.classes or ("0", "1")
    places = {own: place for place, own in enumerate(outcome.classes.tolist())}
    if unknown := [own for own in given if own not in places]:
        raise UserError(f"class_weight names class {unknown[0]!r}, which is not one of {list(places)}")
    return {names[places[own]]: float(weight) for own, weight in given.items()}
