"""Exported models: the graph answers as the model does, files are compared, what has no graph is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy import special
from typer.testing import CliRunner

from batches import DOCUMENTS, LENGTH, SHAPES, SOME, STEPS, TINY, some_batch
from cohorts import TINY as SETTINGS
from cohorts import small_cohort
from sklar import runs
from sklar.alignment import IMPUTATIONS
from sklar.cli import app
from sklar.copulas import FAMILIES
from sklar.data.store import PreparedData
from sklar.encoders import ImageShape
from sklar.errors import UserError
from sklar.export import CONDITIONALS, EXPORTABLE, export, graph_of, load
from sklar.export.check import answers, by_name, difference, examples, graph_answers
from sklar.export.formats import FORMATS, Source
from sklar.export.graph import NOISE, Graph
from sklar.export.normal import log_tails, normal_score
from sklar.models import MODELS, Ensemble, FusionModel, ModelConfig, create
from sklar.training.config import resolve

CONFIGS: TypeAdapter[Any] = TypeAdapter(ModelConfig)


def made(name: str, batches: int = 4, **settings: object) -> FusionModel:
    """A model whose mixtures and statistics have seen a few batches."""
    torch.manual_seed(0)
    given = {"name": name, "encoders": TINY, **settings}
    if name == "single":
        given["modality"] = "notes"
    config = CONFIGS.validate_python(given)
    model = create(SHAPES, config).train()
    for seed in range(batches):
        model(some_batch(SOME.repeat(6, 1), seed))
    return model.eval()


def graph(model: FusionModel) -> Graph:
    return Graph(model, SHAPES, {"notes": (DOCUMENTS, LENGTH)}, {"labs": STEPS}).eval()


def gap(model: FusionModel) -> float:
    """Between the graph and the model, over every mask."""
    own = graph(model)
    tensors = examples(own, len(SHAPES))
    with torch.no_grad():
        found = own(*tensors.values())
    return difference(found, answers(model, own.batch(tensors), tensors.get(NOISE)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_scores_are_exact_in_both_tails(dtype: torch.dtype) -> None:
    z = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    pair = [torch.from_numpy(special.log_ndtr(sign * z.numpy())).to(dtype) for sign in (1, -1)]
    error = (normal_score(*pair).double() - z).abs().max()
    assert error < (1e-13 if dtype == torch.float64 else 4e-6)


def test_log_tails_equal_those_of_scipy() -> None:
    z = torch.linspace(-30, 30, 2001, dtype=torch.float64)
    for found, sign in zip(log_tails(z), (1, -1), strict=True):
        np.testing.assert_allclose(found, special.log_ndtr(sign * z.numpy()), rtol=2e-7, atol=2e-7)


@pytest.mark.parametrize("name", EXPORTABLE)
def test_every_exportable_model_has_a_graph_that_answers_as_it_does(name: str) -> None:
    assert gap(made(name)) < 1e-6


@pytest.mark.parametrize("family", CONDITIONALS)
@pytest.mark.parametrize(
    "alignment",
    [
        {},
        {"components": 3},
        {"parameters": "per_coordinate"},
        {"estimate": "learned", "init_tau": 0.05},
        {"estimate": "learned", "init_tau": 0.9},
    ],
    ids=str,
)
def test_conditional_draws_of_a_family_are_those_of_the_model(
    family: str, alignment: dict[str, object]
) -> None:
    assert gap(made("cm2", alignment={"family": family, "warmup": 32, **alignment})) < 2e-6


@pytest.mark.parametrize("method", IMPUTATIONS)
def test_every_imputation_has_a_graph(method: str) -> None:
    assert gap(made("cm2", imputation=method, alignment={"components": 2, "warmup": 32})) < 2e-6


def test_amortized_weights_are_computed_in_the_graph() -> None:
    settings = {"components": 3, "mixture_weights": "amortized", "warmup": 32}
    assert gap(made("cm2", alignment=settings)) < 2e-6


def test_members_of_an_ensemble_draw_with_their_own_noise() -> None:
    both = Ensemble([made("cm2"), made("cm2", linear_path=False)]).eval()
    assert graph(both).noise == (2, 3, TINY.dim)
    assert gap(both) < 2e-6


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - CONDITIONALS.keys()))
def test_families_whose_inverse_iterates_are_refused_by_name(family: str) -> None:
    with pytest.raises(UserError, match=f"{family} copula .* no exportable inverse.*family=gaussian"):
        graph(made("cm2", batches=0, alignment={"family": family}))


@pytest.mark.parametrize("name", sorted(MODELS.keys() - set(EXPORTABLE)))
def test_models_that_branch_on_rows_are_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=f"(?i){name} chooses its operations"):
        graph(made(name, batches=0))


def test_a_model_that_exchanges_features_of_present_rows_is_refused_by_setting() -> None:
    with pytest.raises(UserError, match=r"mmtm with model\.absent=skip"):
        graph(made("mmtm", batches=0, absent="skip"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "cm2"
    runs.train(resolve("cm2", SETTINGS), data, out)
    return out


def test_the_folder_of_weights_alone_gives_the_model_back(run: Path, tmp_path: Path) -> None:
    opened = runs.Run.open(run)
    found = export(opened, tmp_path / "out", ["safetensors"])
    assert found.differences == {"safetensors": 0.0}
    assert found.from_model < 1e-6
    read = load(tmp_path / "out")
    own = graph_of(opened)
    batch = own.batch(examples(own, 3))
    torch.testing.assert_close(read(batch).logits, opened.model(batch).logits, rtol=0, atol=0)


def test_the_contract_says_what_goes_in_and_what_comes_out(run: Path, tmp_path: Path) -> None:
    found = export(runs.Run.open(run), tmp_path / "out", ["safetensors", "pt2"])
    assert found.differences == {"safetensors": 0.0, "pt2": 0.0}
    told = json.loads((tmp_path / "out" / "contract.json").read_text())
    inputs = {own["name"]: (own["dtype"], own["shape"]) for own in told["inputs"]}
    assert list(inputs) == [
        "labs_values", "labs_observed", "notes_ids", "notes_attention", "table_numeric", "table_observed",
        "table_categories", "present", "noise",
    ]  # fmt: skip
    assert inputs["labs_values"] == ("float32", ["batch", 6, 6])
    assert inputs["noise"] == ("float32", ["draws", 1, 3, 8])
    assert told["output"]["shape"] == ["draws", "batch", 1]
    interval = runs.Run.open(run).intervals
    assert told["interval"] == (None if interval is None else interval.to_dict())
    assert told["statistics"]["table"]["age"].keys() == {"mean", "sd", "cells"}
    assert told["preprocessing"]["labs"]["unit"] == "days"
    assert told["preprocessing"]["notes"]["tokenizer"] in told["files"]
    assert (tmp_path / "out" / told["preprocessing"]["notes"]["tokenizer"]).is_file()


def test_what_cannot_be_exported_leaves_nothing_behind(run: Path, tmp_path: Path) -> None:
    opened = runs.Run.open(run)
    with pytest.raises(UserError, match="no format 'pickle'"):
        export(opened, tmp_path / "out", ["safetensors", "pickle"])
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UserError, match="taken exists"):
        export(opened, tmp_path / "taken", ["safetensors"])
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [[], ["model.alignment.components=3"]], ids=["one", "three"])
def test_the_command_writes_compares_and_prints(
    data: PreparedData, tmp_path: Path, settings: list[str]
) -> None:
    runs.train(resolve("cm2", [*SETTINGS, *settings]), data, tmp_path / "run")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["rows"], told["masks"]) == (64, 7)
    assert told["from_model"] < 1e-5
    assert told["formats"]["pt2"]["difference"] == 0
    assert told["formats"]["safetensors"]["difference"] == 0
    assert told["formats"]["onnx"]["difference"] <= 1e-5
    assert {path.name for path in out.iterdir()} == {
        "contract.json", "model.onnx", "model.pt2", "model.safetensors", "tokenizers",
    }  # fmt: skip
    one_row_and_many_draws(out, runs.Run.open(tmp_path / "run"))


def one_row_and_many_draws(out: Path, run: runs.Run) -> None:
    """Files written for one number of rows and draws answer to others."""
    import onnxruntime

    own = graph_of(run)
    tensors = by_name(own, examples(own, 3, seed=5), slice(17, 18))
    tensors[NOISE] = tensors[NOISE].repeat(5, 1, 1, 1)
    with torch.no_grad():
        wanted = own(*tensors.values())
        program = torch.export.load(out / "model.pt2").module()(*tensors.values())
    session = onnxruntime.InferenceSession(out / "model.onnx")
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in tensors.items()})
    assert wanted.shape == (20, 1, 1)
    torch.testing.assert_close(program, wanted, rtol=0, atol=1e-6)  # of one row, kernels add in another order
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["daft", "late", "medfuse", "mmtm"])
def test_models_without_draws_survive_both_formats(data: PreparedData, tmp_path: Path, name: str) -> None:
    run = runs.train(resolve(name, SETTINGS), data, tmp_path / "run")
    found = export(run, tmp_path / "out", ["pt2", "onnx"]).differences
    assert found["pt2"] == 0
    assert found["onnx"] <= 1e-5


SMALL = {"hidden": 8, "heads": 2, "layers": 1, "intermediate": 8}

ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gru": ("series", {"kind": "gru", "hidden": 5}),
    "lstm": ("series", {"kind": "lstm", "hidden": 5, "layers": 2}),
    "transformer": (
        "series",
        {"kind": "transformer", "hidden": 8, "heads": 2, "layers": 1, "intermediate": 8},
    ),
    "resnet18": ("image", {"widths": [4, 4, 4, 4], "depths": [1, 1, 1, 1]}),
    "vit": ("image", {"kind": "vit", "hidden": 8, "heads": 2, "layers": 1, "intermediate": 8, "patch": 8}),
}


def with_encoder(kind: str) -> tuple[FusionModel, Graph]:
    """CM² of a table and one other modality, its mixtures as they begin."""
    section, settings = ENCODINGS[kind]
    first = SHAPES["labs"] if section == "series" else ImageShape(1, 16, 16)
    shapes = {"first": first, "table": SHAPES["table"]}
    encoders = TINY.model_dump() | {section: settings}
    torch.manual_seed(0)
    model = create(shapes, CONFIGS.validate_python({"name": "cm2", "encoders": encoders})).eval()
    return model, Graph(model, shapes, {}, {"first": STEPS}).eval()


@pytest.mark.parametrize("kind", ENCODINGS)
def test_every_encoder_has_a_graph(kind: str) -> None:
    model, own = with_encoder(kind)
    tensors = examples(own, 2)
    with torch.no_grad():
        found = own(*tensors.values())
    assert difference(found, answers(model, own.batch(tensors), tensors[NOISE])) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformer", "resnet18", "vit"])
def test_encoders_that_other_tests_lack_survive_both_formats(kind: str, tmp_path: Path) -> None:
    model, own = with_encoder(kind)
    tensors = examples(own, 2)
    source = Source(model, own, tensors, graph_answers(own, tensors))
    assert FORMATS["pt2"](source, tmp_path) == 0
    assert FORMATS["onnx"](source, tmp_path) <= 1e-5
