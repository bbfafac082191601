"""What a run keeps of its latents: aggregates that tell whether the joint fits them."""

import numpy as np
import pytest
import torch

from sklar.alignment import CopulaAlignment
from sklar.runs.latents import FEWEST, latent_record

RHO, ROWS, DIM = 0.7, 1500, 4


def normals(rows: int = ROWS) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Standard normal latents whose coordinates correlate across modalities, all of them there."""
    generator = torch.Generator().manual_seed(0)
    shared, own = torch.randn(2, rows, DIM, generator=generator)
    z = {"a": shared, "b": RHO * shared + (1 - RHO**2) ** 0.5 * own}
    return z, torch.ones(rows, 2, dtype=torch.bool)


@pytest.fixture(scope="module")
def record() -> dict:
    torch.manual_seed(0)
    z, present = normals()
    joint = CopulaAlignment({"a": DIM, "b": DIM})
    for _ in range(200):
        joint.loss(z, present)
    return latent_record(joint.eval(), z, present, seed=0)


def test_uniforms_of_a_margin_that_fits_are_flat(record: dict) -> None:
    for shares in record["uniforms"].values():
        assert sum(shares) == pytest.approx(1)
        assert shares == pytest.approx([1 / len(shares)] * len(shares), rel=0.35)


def test_true_pairs_are_denser_than_shuffled_ones(record: dict) -> None:
    # the learned copula, which has not moved from tau 0.35 to the correlation of 0.7 (tau 0.49)
    assert np.mean(record["log_density"]["true"]) > 0.2
    assert np.mean(record["log_density"]["shuffled"]) < -0.1


def test_drawn_latents_are_distributed_as_the_real_ones(record: dict) -> None:
    for own in record["imputed"].values():
        assert own["drawn"] == pytest.approx(own["real"], abs=0.12)
        assert own["correlation"] == pytest.approx(RHO, abs=0.05)
        # 20 draws: their outer quantiles hold a little less than they say
        assert 0.8 < own["coverage"] < 0.92


def test_few_complete_rows_are_not_told_of() -> None:
    z, present = normals(FEWEST + 10)
    present[20:, 1] = False
    found = latent_record(CopulaAlignment({"a": DIM, "b": DIM}).eval(), z, present, seed=0)
    assert found["complete"] == 20
    assert found["imputed"] == {}
    assert found["log_density"] == {}
    assert set(found["uniforms"]) == {"a"}
