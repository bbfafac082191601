"""Plans of a simulated hospital: what is asked for holds, the seed decides, the impossible is refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from sklar.cli import app
from sklar.errors import UserError
from sklar.mimic import prepare
from sklar.mimic.hospital import MODALITIES, HospitalPlan, simulate, write_hospital

SMALL = HospitalPlan(stays=20, image_size=64)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_seed_fixes_every_byte_and_another_seed_changes_them(tmp_path):
    for name in ("one", "two"):
        write_hospital(tmp_path / name, SMALL)
    write_hospital(tmp_path / "other", HospitalPlan(stays=20, image_size=64, seed=1))
    one = bytes_of(tmp_path / "one")
    assert one == bytes_of(tmp_path / "two")
    other = bytes_of(tmp_path / "other")
    assert one["mimic-iii/CHARTEVENTS.csv.gz"] != other["mimic-iii/CHARTEVENTS.csv.gz"]


def test_the_mark_does_not_cover_a_table_that_was_replaced(tmp_path):
    write_hospital(tmp_path / "raw", HospitalPlan(stays=20, sources=("mimic-iv",), image_size=64))
    patients = tmp_path / "raw/mimic-iv/hosp/patients.csv.gz"
    patients.write_bytes(gzip.compress(gzip.decompress(patients.read_bytes()), compresslevel=9))
    manifest = prepare("mimic-iv", tmp_path / "raw/mimic-iv", tmp_path / "out").manifest
    assert manifest.restricted
    assert manifest.rules["synthetic"] is False


@pytest.mark.parametrize(("family", "tau"), [("gaussian", 0.5), ("gumbel", 0.4), ("clayton", 0.3)])
def test_severities_have_the_asked_dependence(family, tau):
    z = simulate(HospitalPlan(stays=4000, family=family, tau=tau)).severity.latents
    # the standard error of tau is about 0.01 here
    for pair in ((0, 1), (0, 2), (1, 2)):
        assert kendalltau(z[:, pair[0]], z[:, pair[1]]).statistic == pytest.approx(tau, abs=0.035)


def test_a_regression_on_the_severities_reaches_the_stated_auroc_and_each_adds_to_it():
    truth = simulate(HospitalPlan(stays=8000))
    severity, best = truth.severity, truth.summary()["auroc"]
    z, died = severity.latents, severity.died
    fitted = LogisticRegression().fit(z[:4000], died[:4000])
    score = fitted.predict_proba(z)[:, 1]
    half = np.arange(8000) >= 4000
    assert severity.auroc(score, half) == pytest.approx(severity.auroc(severity.complete, half), abs=0.003)
    assert max(best["alone"].values()) + 0.03 < best["complete"]
    for source in ("mimic-iii", "mimic-iv"):
        reached = truth.summary()["sources"][source]["auroc"]
        assert max(best["alone"].values()) < reached["bayes"] < best["complete"]


def test_absence_follows_the_mechanism():
    stays = {"stays": 4000, "missing": 0.5}
    for mechanism, low, high in (("mcar", -0.1, 0.1), ("mnar", 0.5, 2.0)):
        severity = simulate(HospitalPlan(**stays, mechanism=mechanism)).severity
        absent, image = ~severity.drawn[:, 1], severity.latents[:, 1]
        assert absent.mean() == pytest.approx(0.5, abs=0.03)
        assert low < image[absent].mean() - image[~absent].mean() < high


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stays": 3}, "stays 3: from 20"),
        ({"missing": 1.0}, "missing 1.0"),
        ({"prevalence": 0.0}, "prevalence 0.0"),
        ({"image_size": 8}, "image size 8"),
        ({"family": "gumbell"}, "copula family 'gumbell'"),
        ({"tau": -0.5, "family": "gumbel"}, "tau -0.5"),
        ({"mechanism": "never"}, "mechanism 'never'"),
        ({"form": "xlsx"}, "form 'xlsx'"),
        ({"sources": ("mimic-v",)}, "sources mimic-v"),
    ],
)
def test_an_impossible_plan_is_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        HospitalPlan(**wrong)


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(UserError, match="holds something else"):
        write_hospital(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sklar.mimic.hospital.write.write_cxr", full)
    with pytest.raises(OSError, match="No space"):
        write_hospital(tmp_path / "out", SMALL)
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_it_and_says_what_is_known(tmp_path):
    out = tmp_path / "hospital"
    done = CliRunner().invoke(
        app,
        ["simulate", "hospital", str(out), "--stays", "25", "--image-size", "64", "--seed", "2", "--json"],
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["modalities"] == list(MODALITIES)
    assert said["sources"]["mimic-iii"]["compat"]["stays"] == 25
    assert {path.name for path in out.iterdir()} == {
        "README.md", "truth.json", "truth.parquet", "mimic-iii", "mimic-iv", "mimic-cxr",
    }  # fmt: skip
