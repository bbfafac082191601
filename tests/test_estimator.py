"""The classifier: tables in, probabilities out, by scikit-learn's conventions."""

import json
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklar import MultimodalClassifier, Run
from sklar.data.schema import Schema
from sklar.errors import DataError, UserError
from test_cli import run
from wide_tables import SCAN, SCHEMA, SMALL, wide_table


def make(**changes):
    return MultimodalClassifier(**{"schema": SCHEMA, "settings": SMALL, "max_epochs": 3} | changes)


def unseen(rows=60, seed=1):
    """Patients whom nobody trained on."""
    table = wide_table(rows, seed)
    return table.assign(stay=table["stay"] + 1000, patient=table["patient"] + 1000)


@pytest.fixture(scope="module")
def fitted():
    return make().fit(wide_table(300))


def test_probabilities_follow_the_classes_and_know_something(fitted):
    new = unseen(200)
    p = fitted.predict_proba(new)
    assert p.shape == (200, 2)
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(fitted.classes_, [0, 1])
    np.testing.assert_array_equal(fitted.predict(new), (p[:, 1] > p[:, 0]).astype(int))
    assert fitted.evaluate(new, resamples=50).metrics["auroc"].low > 0.6
    assert fitted.score(new) == pytest.approx((fitted.predict(new) == new["died"]).mean())


def test_any_subset_of_the_modalities_is_answered_and_a_row_of_nothing_is_refused(fitted):
    row = unseen().dropna(subset=["vitals", "note"]).iloc[[0]]
    for gone in (["vitals"], ["note"], ["age", "sex"], ["vitals", "note"], ["note", "age", "sex"]):
        assert fitted.predict_proba(row.assign(**dict.fromkeys(gone))).shape == (1, 2)
    empty = row.assign(**dict.fromkeys(["vitals", "note", "age", "sex"]))
    with pytest.raises(DataError, match=r"1 rows have no observed modality.*on_empty"):
        fitted.predict_proba(empty)
    lenient = pickle.loads(pickle.dumps(fitted)).set_params(on_empty="prior")
    counts = json.loads((lenient._holder.path / "data.json").read_text())["counts"]["train"]
    assert lenient.predict_proba(empty)[0, 1] == pytest.approx(counts["events"] / counts["labelled"])


def test_frames_of_other_libraries_give_the_same_answer(fitted, tmp_path):
    new = unseen(20)
    expected = fitted.predict_proba(new)
    new.to_parquet(tmp_path / "new.parquet")
    for other in (pl.from_arrow(pa.table(new)), tmp_path / "new.parquet"):
        np.testing.assert_allclose(fitted.predict_proba(other), expected, rtol=1e-6)


def test_intervals_have_width_where_something_is_missing_and_hold_the_probability(fitted):
    new = unseen()
    p, interval = fitted.predict_proba(new)[:, 1], fitted.predict_imputation_interval(new)
    missing = new[["vitals", "note"]].isna().any(axis=1).to_numpy()
    width = interval[:, 1] - interval[:, 0]
    assert (width[~missing] < 1e-6).all()
    assert (width[missing] > 0).any()
    assert ((interval[:, 0] <= p) & (p <= interval[:, 1])).all()


def test_latents_repeat_where_observed_and_vary_where_drawn(fitted):
    new = unseen()
    latents = fitted.impute_latents(new, draws=4)
    assert {name: own.shape for name, own in latents.items()} == dict.fromkeys(SCHEMA.modalities, (4, 60, 8))
    spread = latents["note"].std(axis=0).max(axis=1)
    missing = new["note"].isna().to_numpy()
    assert (spread[~missing] < 1e-6).all()
    assert (spread[missing] > 1e-3).all()


def test_shapley_shares_add_up_to_the_prediction(fitted):
    new = unseen(12)
    found = fitted.explain(new)
    np.testing.assert_allclose(found.base + found.shapley.sum(axis=1), found.probability, atol=1e-9)
    np.testing.assert_allclose(found.probability, fitted.predict_proba(new)[:, 1], atol=1e-6)
    absent = new["note"].isna().to_numpy()
    assert absent.any()
    assert (found.shapley[absent, 1] == 0).all()
    assert set(found.features["modality"].to_pylist()) == set(SCHEMA.modalities)
    assert set(found.modality_shapley) == set(SCHEMA.modalities)
    with pytest.raises(DataError, match="no observed modality"):
        fitted.explain(new.assign(vitals=None, note=None, age=None, sex=None))


def test_evaluation_by_subgroup_and_pattern_and_as_a_page(fitted, tmp_path):
    found = fitted.evaluate(unseen(200), by={"sex": (), "pattern": (), "age": (50, 60)}, resamples=50)
    assert {part.name for part in found.subgroups["sex"]} == {"f", "m"}
    years = unseen(200)["age"]
    young = next(part for part in found.subgroups["age"] if part.name == "< 50")
    assert young.rows == (years < 50).sum()
    assert sum(part.rows for part in found.subgroups["pattern"]) == 200
    assert "AUROC" in found.report(tmp_path / "page.html", resamples=50).read_text()
    with pytest.raises(UserError, match="no metric 'auc'"):
        fitted.evaluate(unseen(), metrics=["auc"])
    with pytest.raises(UserError, match="not ascending"):
        fitted.evaluate(unseen(), by={"age": (60, 50)})


def test_recalibration_replaces_the_last_one(fitted):
    own = pickle.loads(pickle.dumps(fitted))
    before, new = own.predict_proba(unseen(50, 2)), unseen(200)
    first = own.calibrate(new).predict_proba(unseen(50, 2))
    assert np.abs(first - before).max() > 1e-3
    assert (np.argsort(first[:, 1], kind="stable") == np.argsort(before[:, 1], kind="stable")).all()
    np.testing.assert_allclose(own.calibrate(new).predict_proba(unseen(50, 2)), first)
    assert own.calibrate(new, method="isotonic").predict_proba(unseen(50, 2)).shape == (50, 2)


def test_saved_and_loaded_it_is_the_same_without_pickle(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()} <= {
        ".json", ".safetensors", ".yaml", ".csv", ".parquet",
    }  # fmt: skip
    again = MultimodalClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(unseen()), fitted.predict_proba(unseen()))
    assert again.get_params()["schema"] == SCHEMA
    assert Run.open(tmp_path / "model").schema == again.schema_
    unseen().to_parquet(tmp_path / "new.parquet")
    run("predict", tmp_path / "model", tmp_path / "new.parquet", "-o", tmp_path / "out.parquet")
    by_command = pd.read_parquet(tmp_path / "out.parquet")["probability"]
    np.testing.assert_allclose(by_command, fitted.predict_proba(unseen())[:, 1], rtol=1e-5)
    with pytest.raises(UserError, match="exists; give the name of a new folder"):
        fitted.save(tmp_path / "model")
    with pytest.raises(DataError, match="is missing or damaged"):
        MultimodalClassifier.load(tmp_path)


def test_plain_state_of_arrays_survives_saving(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 3))
    y = np.where(x[:, 0] > 0, "yes", "no")
    own = MultimodalClassifier(settings=SMALL, max_epochs=2, class_weight={"yes": 2.0, "no": 1})
    own.fit(pd.DataFrame(x, columns=["a", "b", "c"]), y).save(tmp_path / "m")
    again = MultimodalClassifier.load(tmp_path / "m")
    assert again.class_weight == {"yes": 2.0, "no": 1.0}
    assert list(again.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_array_equal(
        again.predict(pd.DataFrame(x, columns=["a", "b", "c"])),
        own.predict(pd.DataFrame(x, columns=["a", "b", "c"])),
    )
    with pytest.raises(UserError, match="'random_state' is a RandomState"):
        own.set_params(random_state=np.random.RandomState(0)).save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_schema_may_be_given_to_fit_as_a_file_or_as_plain_values(tmp_path):
    (tmp_path / "schema.yaml").write_text(SCHEMA.model_dump_json())
    plain = make(schema=None, max_epochs=1)
    a = plain.fit(wide_table(80), schema=tmp_path / "schema.yaml").predict_proba(unseen(5))
    b = make(schema=SCHEMA.model_dump(mode="json"), max_epochs=1).fit(wide_table(80)).predict_proba(unseen(5))
    np.testing.assert_array_equal(a, b)


def test_an_image_is_a_modality_like_another():
    schema = SCHEMA.model_copy(update={"modalities": {"scan": SCAN, "demo": SCHEMA.modalities["demo"]}})
    settings = {**SMALL, "model.encoders.image.kind": "resnet18", "model.encoders.image.widths": [4, 4, 4, 4]}
    own = make(schema=schema, settings=settings, max_epochs=1).fit(wide_table(60))
    assert own.predict_proba(unseen(10)).shape == (10, 2)


def test_own_classes_of_y_come_back(tmp_path):
    table = wide_table(150)
    y = np.array(["mild", "middle", "severe"])[np.digitize(table["age"], [55, 65])]
    own = make(max_epochs=2).fit(table.drop(columns="died"), y)
    assert own.classes_.tolist() == ["middle", "mild", "severe"]
    assert own.predict_proba(unseen(10).drop(columns="died")).shape == (10, 3)
    assert set(own.predict(unseen(10))) <= set(y)
    assert own.predict_imputation_interval(unseen(10)).shape == (10, 3, 2)
    assert own.explain(unseen(3), output="mild").shapley.shape == (3, 3)
    with pytest.raises(UserError, match="output is None; name one of 'middle', 'mild', 'severe'"):
        own.explain(unseen(3))
    found = own.evaluate(table.drop(columns="died"), y, by=["sex"], resamples=50)
    assert set(found.outputs) == set(found.output_subgroups) == {"middle", "mild", "severe"}
    assert found.subgroups == {}
    for name, parts in found.output_subgroups.items():
        wanted = {sex: int((y[table["sex"] == sex] == name).sum()) for sex in ("f", "m")}
        assert {part.name: part.events for part in parts["sex"] if part.name in wanted} == wanted
    recalibrated = own.calibrate(table.drop(columns="died"), y).predict_proba(unseen(10))
    np.testing.assert_allclose(recalibrated.sum(1), 1)
    empty = unseen(1).assign(vitals=None, note=None, age=None, sex=None)
    prior = own.set_params(on_empty="prior").predict_proba(empty)
    np.testing.assert_allclose(prior.sum(), 1)
    assert prior.argmax() == np.unique(y, return_counts=True)[1].argmax()
    with pytest.raises(DataError, match="y has class 'dead'"):
        own.evaluate(unseen(3), ["dead", "mild", "mild"])
    own.save(tmp_path / "m")
    assert MultimodalClassifier.load(tmp_path / "m").classes_.tolist() == own.classes_.tolist()


def test_several_labels_are_columns_of_probabilities():
    table = wide_table(150).assign(old=lambda t: (t["age"] > 60).astype(int))
    schema = SCHEMA.model_copy(update={"label": ("died", "old")})
    own = make(schema=schema, max_epochs=2).fit(table)
    assert own.classes_.tolist() == ["died", "old"]
    assert own.predict_proba(unseen(10)).shape == (10, 2)
    assert set(np.unique(own.predict(unseen(10)))) <= {0, 1}
    y = table[["died", "old"]].to_numpy()
    as_array = make(max_epochs=2).fit(table.drop(columns=["died", "old"]), y)
    np.testing.assert_allclose(as_array.predict_proba(unseen(10)), own.predict_proba(unseen(10)), atol=1e-6)


def test_validation_rows_may_be_given():
    table, valid = wide_table(120), unseen(60)
    own = make(max_epochs=1).fit(table, valid=valid)
    assert own._holder.run.data["counts"]["valid"]["subjects"] == 60
    with pytest.raises(DataError, match=r"group '.*' is in 2 splits"):
        make(max_epochs=1).fit(table, valid=valid.assign(patient=valid["patient"] - 1000))
    with pytest.raises(UserError, match=r"valid must be \(X, y\)"):
        make().fit(table, table["died"], valid=valid)
    x = np.random.default_rng(0).normal(size=(60, 3))
    arrays = MultimodalClassifier(settings=SMALL, max_epochs=1).fit(
        x, x[:, 0] > 0, valid=(x[:20], x[:20, 0] > 0)
    )
    assert arrays._holder.run.data["counts"]["valid"]["subjects"] == 20


def test_groups_stay_on_one_side_of_the_split(fitted):
    counts = fitted._holder.run.data["counts"]
    assert counts["train"]["subjects"] + counts["valid"]["subjects"] == 300
    assert counts["valid"]["subjects"] % 2 == 0  # patients have two stays each


def test_a_table_of_its_own_holds_a_modality():
    table = wide_table(100)
    rows = [{"stay": own.stay, **record} for own in table.itertuples() for record in own.vitals or ()]
    long = pd.DataFrame(rows)
    own = make(max_epochs=1).fit(table.drop(columns="vitals"), long={"vitals": long})
    nested = make(max_epochs=1).fit(table)
    some = table.iloc[:10]
    np.testing.assert_allclose(
        own.predict_proba(some.drop(columns="vitals"), long={"vitals": long}),
        nested.predict_proba(some),
        rtol=1e-5,
    )
    with pytest.raises(DataError, match="none of its stay is in the table"):
        own.predict_proba(unseen(5).drop(columns="vitals"), long={"vitals": long})


def test_clone_pipeline_and_grid_search_work():
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = x[:, 0] + x[:, 1] > 0
    own = MultimodalClassifier(settings=SMALL, max_epochs=1)
    assert clone(own).get_params() == own.get_params()
    assert Pipeline([("scale", StandardScaler()), ("model", own)]).fit(x, y).predict(x).shape == (60,)
    search = GridSearchCV(own, {"copula": ["gaussian", "frank"]}, cv=2).fit(x, y)
    assert search.best_params_["copula"] in ("gaussian", "frank")


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_tables_go_through_pipelines_searches_and_folds_of_groups(library):
    table = library(wide_table(60))
    own = Pipeline([("model", make(max_epochs=1, fusion="late"))])
    search = GridSearchCV(own, {"model__fusion": ["late"]}, cv=GroupKFold(2), scoring="roc_auc")
    search.fit(table, table["died"], groups=np.asarray(table["patient"]))
    assert search.predict_proba(table).shape == (60, 2)
    assert cross_val_score(make(max_epochs=1), table, cv=2).shape == (2,)  # the label is a column


def test_blocks_of_columns_are_modalities():
    x = np.random.default_rng(0).normal(size=(60, 4))
    own = MultimodalClassifier(settings=SMALL, max_epochs=1, blocks={"a": [0, 1], "b": [2, 3]}).fit(
        x, x[:, 0] > 0
    )
    assert {name: spec.columns for name, spec in own.schema_.tables.items()} == {
        "a": ("x0", "x1"),
        "b": ("x2", "x3"),
    }
    with pytest.raises(UserError, match=r"blocks: 'a' is \[4\]; name columns from 0 to 3"):
        own.set_params(blocks={"a": [4]}).fit(x, x[:, 0] > 0)


def test_another_fusion_and_what_it_lacks():
    own = make(fusion="medfuse", max_epochs=1).fit(wide_table(60))
    assert own.predict_proba(unseen(5)).shape == (5, 2)
    with pytest.raises(UserError, match="'medfuse' has no joint"):
        own.impute_latents(unseen(5))


def test_equal_seeds_give_equal_models_and_other_seeds_others():
    def answer(seed):
        return make(max_epochs=1, random_state=seed).fit(wide_table(60)).predict_proba(unseen(5))

    np.testing.assert_array_equal(answer(1), answer(1))
    assert not np.array_equal(answer(1), answer(2))
    np.testing.assert_array_equal(answer(np.random.RandomState(3)), answer(np.random.RandomState(3)))


WITHOUT_NOTES = wide_table(40).assign(note=None)
X = np.random.default_rng(0).normal(size=(40, 3))
BROKEN = {
    "no schema": (
        {"schema": None}, wide_table(40), None,
        r"columns that are no numbers \(vitals, note, scan, sex\) and there is no schema: nothing is guessed",
    ),
    "no label": ({"schema": None}, X, None, "requires y to be passed"),
    "one class": ({"schema": None}, X, np.zeros(40), "y has one class only"),
    "one modality": ({"schema": None}, X[:, :1], X[:, 0] > 0, "n_features = 1 in one modality"),
    "label values": ({}, wide_table(40).assign(died=2), None, "label 'died' is 2 in row 0"),
    "unlabelled": (
        {}, wide_table(40).assign(died=[None, *[0, 1] * 19, 0]), None, "null in 1 of 40 rows.*on_unlabelled",
    ),
    "never observed": ({}, WITHOUT_NOTES, None, r"modality 'note' is absent in all \d+ training rows"),
    "unknown fusion": ({"fusion": "cm3"}, wide_table(40), None, "no fusion 'cm3'.*did you mean cm2"),
    "unknown setting": (
        {"settings": {"model.copla": 1}}, wide_table(40), None, "model.copla is unknown",
    ),
    "unknown copula": ({"copula": "gumble"}, wide_table(40), None, "no copula family 'gumble'"),
    "unknown class": ({"class_weight": {"dead": 2.0}}, wide_table(40), None, "names class 'dead'"),
    "no share": ({"validation_fraction": 1.5}, wide_table(40), None, "validation_fraction is 1.5"),
    "no such file": ({"schema": "nowhere.yaml"}, wide_table(40), None, "nowhere.yaml cannot be read"),
    "lengths": ({}, wide_table(40), np.zeros(3), "inconsistent numbers of samples|one class only"),
}  # fmt: skip


@pytest.mark.parametrize(("parameters", "table", "y", "message"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_learned_from_says_why(parameters, table, y, message):
    with pytest.raises(ValueError, match=message):
        make(**parameters).fit(table, y)


def test_unlabelled_rows_are_dropped_or_kept_on_request():
    table = wide_table(60)
    table.loc[:9, "died"] = np.nan
    rows = {
        how: make(max_epochs=1, on_unlabelled=how).fit(table)._holder.run.data["counts"]["subjects"]
        for how in ("drop", "keep")
    }
    assert rows == {"drop": 50, "keep": 60}


def test_an_estimator_that_was_not_fitted_says_so():
    with pytest.raises(ValueError, match="not fitted"):
        make().predict_proba(wide_table(3))


def test_a_schema_whose_label_is_a_word_needs_classes():
    schema = Schema(**{**dict(SCHEMA), "classes": ("alive", "dead")})
    table = wide_table(60).assign(died=lambda t: np.where(t["died"] == 1, "dead", "alive"))
    own = make(schema=schema, max_epochs=1).fit(table)
    assert own.classes_.tolist() == ["alive", "dead"]
    assert set(own.predict(unseen(5))) <= {"alive", "dead"}
