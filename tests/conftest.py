"""Shared settings: no network, one torch thread per worker."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

import hypothesis
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # helpers that several test files share

torch.set_num_threads(1)

# how long an example takes depends on what else the machine does; other examples come with every run
hypothesis.settings.register_profile(
    "sklar", deadline=None, max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sklar")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of shared reference data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SKLAR_TEST_DATA", Path(__file__).parents[1] / ".." / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no shared test data in {folder}; set SKLAR_TEST_DATA")
    return folder
