"""The modality that some models are built on: whoever trains them on one that is mostly missing is told."""

import warnings

import pytest
from pydantic import BaseModel

from sklar.models import CM2Config, DAFTConfig, DrFuseConfig, MMTMConfig
from sklar.models.attach import tell_of_absent_hub


@pytest.mark.parametrize(
    ("config", "field"), [(DAFTConfig(), "target"), (MMTMConfig(), "hub"), (DrFuseConfig(), "hub")]
)
def test_a_hub_that_is_mostly_missing_is_told_with_the_way_out(config: BaseModel, field: str) -> None:
    name = config.model_dump()["name"]
    told = rf"{name} is built on 'cxr', which 60% of the training rows lack: .* model.{field}=ehr \(absent"
    with pytest.warns(UserWarning, match=told):
        tell_of_absent_hub(config, {"cxr": 0.4, "ehr": 1.0, "notes": 0.7})


@pytest.mark.parametrize(
    ("config", "share"),
    [
        (CM2Config(), {"cxr": 0.4, "ehr": 1.0}),  # treats all alike
        (MMTMConfig(hub="ehr"), {"cxr": 0.4, "ehr": 1.0}),
        (MMTMConfig(), {"cxr": 0.8, "ehr": 1.0}),  # there often enough
        (MMTMConfig(), {"cxr": 0.4, "ehr": 0.6}),  # nothing is much better
        (MMTMConfig(hub="crx"), {"cxr": 0.4, "ehr": 1.0}),  # refused elsewhere
    ],
)
def test_nothing_is_told_otherwise(config: BaseModel, share: dict[str, float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_of_absent_hub(config, share)
