"""The paper's Figures 2, 3 and 4 from what a run keeps of its copula."""

import json

import pytest

from sklar.errors import DataError, UserError
from sklar.report.copula_figures import (
    densities_at_epochs,
    density_contours,
    density_surface,
    parameters_over_epochs,
    read_copulas,
)

EPOCHS = {
    "gumbel": [{"theta": 1.2}, {"theta": 1.8}, {"theta": 2.5}],
    "gaussian": [{"correlation": [[1.0, rho], [rho, 1.0]]} for rho in (0.1, 0.4, 0.6)],
}


@pytest.fixture(params=list(EPOCHS))
def folder(request, tmp_path):
    rows = [{"epoch": i, "parameters": parameters} for i, parameters in enumerate(EPOCHS[request.param])]
    content = {"family": request.param, "modalities": ["ehr", "cxr"], "epochs": rows}
    (tmp_path / "copulas.json").write_text(json.dumps(content))
    return tmp_path


def test_each_figure_is_one_picture(folder):
    for drawn in (
        density_contours(folder),
        density_surface(folder, epoch=1),
        densities_at_epochs(folder, [0, 2]),
        parameters_over_epochs(folder),
    ):
        assert drawn.startswith("<svg")
        assert drawn.rstrip().endswith("</svg>")


def test_chosen_epochs_are_named(folder):
    drawn = densities_at_epochs(folder, [0, 2])
    assert "epoch 0" in drawn
    assert "epoch 2" in drawn
    assert "epoch 1" not in drawn


def test_the_last_epoch_is_the_default(folder):
    assert density_surface(folder) == density_surface(folder, epoch=2)
    assert density_surface(folder) != density_surface(folder, epoch=0)


def test_what_cannot_be_drawn_is_named(folder, tmp_path):
    with pytest.raises(UserError, match="no epoch 7; the run has 0 to 2"):
        density_contours(folder, epoch=7)
    with pytest.raises(UserError, match="at least one epoch"):
        densities_at_epochs(folder, [])
    with pytest.raises(UserError, match="models that learn a copula"):
        read_copulas(tmp_path / "other")
    (folder / "copulas.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_copulas(folder)
