"""Radiographs and reports beside the series of MIMIC-IV: pixels, presence, times, and their checks."""

import gzip
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raw_cxr import REPORT, Radiographs, place
from raw_mimic import Hospital
from sklar import PreparedData
from sklar.data.loading import PreparedDataset
from sklar.errors import DataError
from sklar.mimic import COMPAT, STRICT, Rules, audit_mimic, prepare
from sklar.mimic.published import MATCHED, PICTURES, count_findings
from sklar.mimic.radiographs.decode import decode, image_spec
from sklar.mimic.radiographs.pairing import read_pictures
from test_cli import last_json, run

RULES = {"compat": COMPAT, "strict": STRICT}
STAYS = 12


def hospital_of(stays: int = STAYS) -> Hospital:
    return Hospital(stays)


def pictures_of_most(hours: float = 20) -> Radiographs:
    """A bedside picture of every patient but the third, and a lateral one after it."""
    radiographs = Radiographs()
    for subject in range(1, STAYS + 1):
        if subject != 3:
            radiographs.take(subject, hours)
            radiographs.take(subject, hours + 1, view="LATERAL")
    return radiographs


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("cxr")
    return hospital_of().write_four(root / "raw"), pictures_of_most().write(root / "cxr")


@pytest.fixture(scope="module", params=RULES)
def data(request, places, tmp_path_factory) -> PreparedData:
    raw, cxr = places
    out = tmp_path_factory.mktemp("out") / request.param
    return prepare("mimic-iv", raw, out, rules=request.param, cxr=cxr, reports=cxr)


# pixels


def literal(path: Path, rules: Rules) -> np.ndarray:
    """What the published evaluation transform gives, with Pillow alone: (224, 224) bytes."""
    picture = Image.open(path)
    if rules is COMPAT:
        again = path.with_suffix(".again.jpg")
        picture.resize((512, int(picture.height * 512 / picture.width))).save(again)
        picture = Image.open(again)
    short = min(picture.size)
    size = tuple(int(256 * side / short) for side in picture.size)
    picture = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - 224) / 2) for side in picture.size)
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))[..., 0]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("shape", [(305, 254), (254, 305), (300, 300), (511, 300), (300, 511), (64, 50)])
def test_a_model_sees_the_pixels_of_the_published_transform(tmp_path, rules, shape):
    path = Radiographs_one(tmp_path, shape)
    spec = image_spec(RULES[rules])
    stored = decode(path, spec, RULES[rules])
    assert stored.shape == (1, spec.height, spec.width)
    top, left = ((side - seen) // 2 for side, seen in zip(stored.shape[1:], spec.shape, strict=True))
    np.testing.assert_array_equal(stored[0, top : top + 224, left : left + 224], literal(path, RULES[rules]))


@pytest.mark.parametrize("rules", RULES)
def test_decoding_at_a_reduced_scale_changes_little(tmp_path, rules):
    """JPEG's own halving and ours differ by a grey level or two; smooth pictures as radiographs are."""
    rows, columns = np.mgrid[0:2000, 0:1700]
    smooth = 128 + 60 * np.sin(rows / 97) + 50 * np.cos(columns / 71)
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "large.jpg", quality=95)
    whole, reduced = (
        literal(tmp_path / "large.jpg", RULES[rules]),
        decode(tmp_path / "large.jpg", image_spec(RULES[rules]), RULES[rules]),
    )
    difference = np.abs(whole.astype(int) - reduced[0, 48:272, 48:272].astype(int))
    # one row more or less of the picture at a quarter of its size moves the centre by up to a pixel
    assert difference.mean() < 2


def Radiographs_one(folder: Path, shape: tuple[int, int]) -> Path:  # noqa: N802
    radiographs = Radiographs()
    row = radiographs.take(1, 1)
    return radiographs.write(folder / "cxr", shape) / place(row)


def tokens_of(data: PreparedData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    shape = (data.content("report").num_rows, 4, 2)
    return {"report": (np.ones(shape, dtype=np.int32), np.ones(shape, dtype=bool))}


def test_the_image_is_normalised_and_in_three_channels(data):
    batch = PreparedDataset(data, documents=tokens_of(data)).__getitems__([0, 2])
    pixels = batch.inputs["cxr"].pixels.numpy()
    assert pixels.shape == (2, 3, 224, 224)
    grey = data.array("cxr")[0, 0, 48:272, 48:272] / np.float32(255)
    for channel, (mean, sd) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        np.testing.assert_allclose(pixels[0, channel], (grey - mean) / sd, atol=1e-5)
    assert not pixels[1].any()  # the third patient has no picture
    assert batch.present[:, 1].tolist() == [True, False]


def test_pictures_are_changed_in_training_by_seed_epoch_and_row_alone(data):
    training = PreparedDataset(data, documents=tokens_of(data), augment=5)
    both, one = training.__getitems__([0, 1]), training.__getitems__([1])
    np.testing.assert_array_equal(both.inputs["cxr"].pixels[1].numpy(), one.inputs["cxr"].pixels[0].numpy())
    training.set_epoch(1)
    later = training.__getitems__([1]).inputs["cxr"].pixels
    assert (later != one.inputs["cxr"].pixels).any()
    plain = PreparedDataset(data, documents=tokens_of(data)).__getitems__([1]).inputs["cxr"].pixels
    assert (plain != one.inputs["cxr"].pixels).any()


@pytest.mark.parametrize("seen", [16, 64, 224])
def test_pictures_of_another_size_keep_the_proportions(tmp_path, seen):
    spec = image_spec(STRICT, seen)
    path = tmp_path / "picture.jpg"
    Image.fromarray(np.full((600, 500), 255, dtype=np.uint8)).save(path)
    lit = decode(path, spec, STRICT)[0] > 127
    assert spec.shape == (seen, seen)
    # all of what is seen is picture; stored are the whole shorter side, and the whole longer one
    assert lit.any(0).sum() == pytest.approx(seen * 256 / 224, abs=1)
    assert lit.any(1).sum() == pytest.approx(seen * 256 / 224 * 1.2, abs=1)
    assert spec.height == pytest.approx(seen * 320 / 224, abs=1)


def test_only_the_published_rules_mirror_pictures():
    assert (image_spec(COMPAT).augmentation.flip, image_spec(STRICT).augmentation.flip) == (0.5, 0.0)


# the folder


def test_presence_and_positions_name_who_has_a_picture(data):
    has = [subject != "3" for subject in data.groups.tolist()]
    for name in ("cxr", "report"):
        assert data.present[:, data.modalities.index(name)].tolist() == has
    assert data.rows(matched=True).tolist() == np.flatnonzero(has).tolist()
    assert data.array("cxr").shape == (STAYS - 1, 1, 320, 320)
    assert isinstance(data.array("cxr"), np.memmap)
    assert data.manifest.presence == {"ehr": 1.0, "cxr": (STAYS - 1) / STAYS, "report": (STAYS - 1) / STAYS}
    matched = {step.step: (step.subjects, step.events) for step in data.manifest.attrition[-3:]}
    # odd numbered patients of the test hospital die
    assert matched == {
        "of these, with cxr": (STAYS - 1, STAYS // 2 - 1),
        "of these, with report": (STAYS - 1, STAYS // 2 - 1),
        "of these, with every modality": (STAYS - 1, STAYS // 2 - 1),
    }


def test_times_are_hours_before_the_prediction(data):
    np.testing.assert_allclose(data.picture_times("cxr"), -28.0)
    margin = data.manifest.rules["rule_report_hours"]
    np.testing.assert_allclose(data.document_times("report")[:, 0], -28.0 + margin)


def test_a_report_is_its_sections_blank_ones_only_under_published_rules(data):
    published = data.manifest.rules["rule_name"] == "compat"
    texts = ["No acute process.", "Lungs are clear.", "", "___."]
    assert data.documents("report", [0]) == [texts if published else [text for text in texts if text]]
    assert data.documents("report", [2]) == [[]]


def test_a_late_report_is_left_out_by_strict_rules_though_its_picture_is_not(places, tmp_path):
    raw, _ = places
    cxr = pictures_of_most(hours=45).write(tmp_path / "cxr")
    data = prepare("mimic-iv", raw, tmp_path / "early", rules="compat", cxr=cxr, reports=cxr)
    assert data.manifest.presence["report"] == data.manifest.presence["cxr"] > 0
    with pytest.raises(DataError, match="'report' is absent in all"):
        prepare("mimic-iv", raw, tmp_path / "late", rules="strict", cxr=cxr, reports=cxr)


def test_studies_picked_by_hand_have_no_report_under_published_rules(places, tmp_path):
    raw, _ = places
    radiographs = pictures_of_most()
    for row, study in zip(radiographs.rows[:2], (50913680, 50058765), strict=True):
        row["study_id"] = study
        radiographs.reports[study] = REPORT
    cxr = radiographs.write(tmp_path / "cxr")
    made = {
        name: prepare("mimic-iv", raw, tmp_path / name, rules=name, cxr=cxr, reports=cxr) for name in RULES
    }
    present = {name: data.present[0].tolist() for name, data in made.items()}
    assert present == {"compat": [True, True, False], "strict": [True, True, True]}
    assert made["compat"].manifest.records["report"]["picked_by_hand"] == 1


def test_the_order_of_rows_and_a_second_run_change_nothing(places, data, tmp_path):
    raw, cxr = places
    copy = tmp_path / "cxr"
    shutil.copytree(cxr, copy)
    path = copy / "mimic-cxr-2.0.0-metadata.csv.gz"
    header, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    random.Random(3).shuffle(rows)
    path.write_bytes(gzip.compress("\n".join([header, *rows, ""]).encode()))
    name = data.manifest.rules["rule_name"]
    again = prepare("mimic-iv", raw, tmp_path / "out", rules=name, cxr=copy, reports=copy)
    np.testing.assert_array_equal(again.array("cxr"), data.array("cxr"))
    assert again.content("report").equals(data.content("report"))
    assert again.hash == data.hash


def test_labelled_pictures_are_counted_by_the_split_of_their_patients(places, tmp_path):
    raw, cxr = places
    copy = tmp_path / "cxr"
    shutil.copytree(cxr, copy)
    rows = read_pictures(copy / "mimic-cxr-2.0.0-metadata.csv.gz").study.tolist()
    (copy / "mimic-cxr-2.0.0-chexpert.csv").write_text(
        "subject_id,study_id\n" + "".join(f"1,{study}\n" for study in rows[4:])
    )
    (tmp_path / "test.csv").write_text("".join(f"{n},{int(n == 2)}\n" for n in range(1, 13)))
    (tmp_path / "valid.csv").write_text("".join(f"{n},{int(n == 4)}\n" for n in range(1, 13) if n != 2))
    lists = {"test_list": tmp_path / "test.csv", "valid_list": tmp_path / "valid.csv"}
    data = prepare("mimic-iv", raw, tmp_path / "out", cxr=copy, **lists)
    # eleven patients with two pictures each, the studies of the first two patients without labels
    assert data.manifest.records["cxr"]["with_labels"] == {"train": 16, "valid": 2, "test": 0}


# checks


def test_the_audit_passes_what_was_prepared(data):
    states = {finding.topic: finding.state for finding in audit_mimic(data)}
    assert states["times of cxr"] == states["patients of cxr"] == states["times of report"] == "ok"
    assert "failed" not in states.values()


def changed(data: PreparedData, tmp_path: Path, name: str, column: str, change) -> list[str]:
    """What fails when a column of a table of the folder is changed."""
    copy = tmp_path / "copy"
    shutil.copytree(data.path, copy)
    table = pq.read_table(copy / f"{name}.parquet")
    place = table.column_names.index(column)
    pq.write_table(
        table.set_column(place, column, pa.array(change(table[column].to_pylist()))), copy / f"{name}.parquet"
    )
    opened = PreparedData(copy, data.manifest, data.index)
    return [finding.topic for finding in audit_mimic(opened) if finding.state == "failed"]


def test_the_audit_finds_a_picture_after_the_prediction(data, tmp_path):
    failed = changed(data, tmp_path, "cxr.source", "second", lambda values: [*values[:-1], 48 * 3600 + 0.5])
    assert failed == ["times of cxr"]


def test_the_audit_finds_a_picture_of_another_patient(data, tmp_path):
    failed = changed(data, tmp_path, "cxr.source", "subject_id", lambda values: [*values[1:], values[0]])
    assert failed == ["patients of cxr"]


def test_the_audit_finds_a_report_after_the_prediction(data, tmp_path):
    failed = changed(data, tmp_path, "report", "times", lambda lists: [[0.5] * len(own) for own in lists])
    assert failed == ["times of report"]


def test_matched_counts_stand_beside_the_papers(data):
    from dataclasses import replace

    rules = {**data.manifest.rules, "version": "2.2"}
    records = {**data.manifest.records, "cxr": {"with_labels": dict.fromkeys(("train", "valid", "test"), 7)}}
    other = PreparedData(data.path, replace(data.manifest, rules=rules, records=records), data.index)
    found = {finding.topic: finding for finding in count_findings(other)}
    assert found["cxr: count of all"].detail.startswith("11 here, 5,931 published")
    assert found["report: count of readm"].detail.split(", ")[1].startswith("1,262 published")
    assert found["pictures: count of all"].detail.startswith("21 here, 377,095 published")
    assert (found["cxr: count of all"].state == "failed") == (rules["rule_name"] == "compat")


def test_published_splits_add_up():
    for table in (*MATCHED[("mimic-iv", "2.2")].values(), *MATCHED[("mimic-iii", "1.4")].values(), PICTURES):
        assert table["train"] + table["valid"] + table["test"] == table["all"]


# the command line


def test_the_command_line_prepares_checks_and_says_what_it_would_read(places, tmp_path):
    raw, cxr = places
    options = ("--raw", raw, "--cxr", cxr, "--reports", cxr)
    dry = last_json(run("prepare", "mimic-iv", "--out", tmp_path / "out", *options, "--dry-run", "--json"))
    assert [table["table"] for table in dry["tables"]][-3:] == ["metadata", "cxr", "reports"]
    assert not (tmp_path / "out").exists()
    done = last_json(
        run(
            "prepare",
            "mimic-iv",
            "--out",
            tmp_path / "out",
            *options,
            "--rules",
            "strict",
            "--image-size",
            32,
            "--json",
        )
    )
    assert done["presence"]["report"] == done["presence"]["cxr"] == 11 / 12
    assert PreparedData.open(tmp_path / "out").schema.images["cxr"].shape == (32, 32)
    findings = last_json(run("validate", tmp_path / "out", "--json"))["findings"]
    assert {"times of cxr", "patients of cxr", "times of report"} <= {
        finding["topic"] for finding in findings
    }
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
