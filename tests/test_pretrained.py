"""Pretrained encoders: what is loaded equals the source, and nothing is loaded in part."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BertConfig,
    BertForPreTraining,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ResNetConfig,
    ResNetForImageClassification,
    RobertaConfig,
    RobertaModel,
    ViTConfig,
    ViTForImageClassification,
)

from sklar.encoders import (
    Backbone,
    EncoderConfig,
    ImageShape,
    TextShape,
    WordPiece,
    build,
    without_weights,
)
from sklar.errors import DataError, UserError
from sklar.training.config import resolve
from sklar.types import Documents, Image, Input
from sklar.weights import add

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "heart", "failure", "stroke", "##s"]
VIT = {"hidden": 12, "layers": 2, "heads": 3, "intermediate": 16, "patch": 8}
RESNET = {"kind": "resnet18", "widths": (4, 6, 8, 10), "depths": (1, 2, 1, 1)}


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKLAR_WEIGHTS", str(tmp_path / "registry"))


def image_backbone(channels: int = 3, **settings: Any) -> Backbone:
    config = EncoderConfig.model_validate({"image": settings})
    return build({"scan": ImageShape(channels, 32, 32)}, config).backbone("scan")


def text_backbone(**settings: Any) -> tuple[Backbone, WordPiece]:
    config = EncoderConfig.model_validate({"text": {"length": 8, **settings}})
    tokenizer = WordPiece.pretrained(settings["pretrained"])
    shape = TextShape(tokenizer.size, tokenizer.padding, tokenizer.architecture)
    return build({"notes": shape}, config).backbone("notes").eval(), tokenizer


def run(backbone: Backbone, item: Input) -> Tensor:
    backbone.eval()
    return backbone.pool(backbone.advance(backbone.start(item, None), 0, len(backbone.widths)))


def pixels(channels: int = 3) -> Tensor:
    return torch.randn(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))


# Images from folders of transformers


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    network = ViTForImageClassification(
        ViTConfig(
            hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16,
            patch_size=8, image_size=32, num_labels=3,
        )
    )  # fmt: skip
    network.save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 6, 8, 10], depths=[1, 2, 1, 1], layer_type="basic"
    )
    network = ResNetForImageClassification(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    network.save_pretrained(tmp_path / "resnet")
    return tmp_path / "resnet"


def test_a_folder_fills_a_vision_transformer(vit: Path) -> None:
    backbone = image_backbone(kind="vit", pretrained=str(vit), **VIT)
    whole = ViTForImageClassification.from_pretrained(vit).vit.eval()
    torch.testing.assert_close(run(backbone, Image(pixels())), whole(pixels()).last_hidden_state[:, 0])
    assert backbone.loaded is not None
    assert backbone.loaded.left_out == ("classifier.bias", "classifier.weight")
    assert backbone.loaded.record()["source"] == str(vit)


def test_a_folder_fills_a_residual_network(resnet: Path) -> None:
    backbone = image_backbone(pretrained=str(resnet), **RESNET)
    whole = ResNetForImageClassification.from_pretrained(resnet).resnet.eval()
    torch.testing.assert_close(run(backbone, Image(pixels())), whole(pixels()).pooler_output.flatten(1))


def test_grey_images_are_seen_as_three_equal_channels(resnet: Path) -> None:
    grey = pixels(1)
    one, three = (image_backbone(c, pretrained=str(resnet), **RESNET) for c in (1, 3))
    torch.testing.assert_close(
        run(one, Image(grey)), run(three, Image(grey.expand(-1, 3, -1, -1))), rtol=1e-4, atol=1e-5
    )


def test_names_of_the_registry_work_as_paths_do(vit: Path) -> None:
    add("small-vit", str(vit), origin="here", licence="MIT")
    named = image_backbone(kind="vit", pretrained="small-vit", freeze=True, **VIT)
    by_path = image_backbone(kind="vit", pretrained=str(vit), **VIT)
    torch.testing.assert_close(run(named, Image(pixels())), run(by_path, Image(pixels())))
    assert named.loaded is not None
    record = named.loaded.record()
    assert (record["source"], record["provenance"]["licence"]) == ("small-vit", "MIT")
    assert not any(p.requires_grad for p in named.parameters())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({**VIT, "layers": 3}, UserError, r"encoders.image.layers is 3; weights .* have layers 2"),
        ({**VIT, "heads": 4, "hidden": 16}, UserError, r"image.hidden is 16, encoders.image.heads is 4"),
        (RESNET, DataError, "are a 'vit', the settings ask for a 'resnet'"),
    ],
    ids=["depth", "width", "architecture"],
)
def test_weights_of_another_size_or_kind_are_refused(
    vit: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        image_backbone(**{"kind": "vit", **settings}, pretrained=str(vit))


def test_weights_for_images_of_another_size_are_refused(vit: Path) -> None:
    config = EncoderConfig.model_validate({"image": {"kind": "vit", "pretrained": str(vit), **VIT}})
    with pytest.raises(DataError, match=r"position_embeddings is \(1, 17, 12\), not \(1, 37, 12\)"):
        build({"scan": ImageShape(3, 48, 48)}, config)


def rewrite(folder: Path, change: Any) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if ".1." not in k}, r"tensors 16 missing \(.*, \.\.\.\)"),
        (lambda t: {**t, "vit.extra.weight": torch.zeros(2)}, r"tensors 1 unknown \(.*extra.weight\)"),
        (lambda t: {**t, "vit.layernorm.bias": torch.zeros(4)}, r"1 of another shape \(.*layernorm.bias\)"),
    ],
    ids=["missing", "unknown", "shape"],
)  # fmt: skip
def test_a_partial_load_is_refused(vit: Path, change: Any, message: str) -> None:
    rewrite(vit, change)
    with pytest.raises(DataError, match=message):
        image_backbone(kind="vit", pretrained=str(vit), **VIT)


# Text from folders of transformers

SIZES: dict[str, Any] = {
    "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 12, "max_position_embeddings": 16,
}  # fmt: skip


def words(folder: Path, padding: str = "[PAD]") -> None:
    """A tokenizer as fast ones are saved."""
    vocabulary = {word.replace("[PAD]", padding): code for code, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": padding})
    )


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    folder = tmp_path / "bert"
    BertForPreTraining(BertConfig(**SIZES)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")  # as the oldest folders are
    return folder


def encoded(tokenizer: WordPiece, texts: list[list[str]]) -> Documents:
    tokens = tokenizer.encode(texts, 8)
    attention = torch.from_numpy(tokens.attention)
    return Documents(torch.from_numpy(tokens.ids).long(), attention, attention.any(2))


TEXTS = [["heart failure"], ["strokes", "heart"], ["stroke"]]


def mean_of_documents(states: Tensor, documents: Documents, project: nn.Linear) -> Tensor:
    """By hand: the vectors of a row's documents, averaged, then the linear map."""
    vectors = iter(states)
    rows = [torch.stack([next(vectors) for _ in range(int(n))]).mean(0) for n in documents.valid.sum(1)]
    return cast(Tensor, project(torch.stack(rows)))


def test_a_folder_fills_a_text_encoder_and_gives_its_tokenizer(bert: Path) -> None:
    backbone, tokenizer = text_backbone(pretrained=str(bert), layers=2, hidden=8)
    documents = encoded(tokenizer, TEXTS)
    assert documents.ids[1, 0, :4].tolist() == [2, 7, 8, 3]  # [CLS] stroke ##s [SEP]
    whole = BertModel.from_pretrained(bert, add_pooling_layer=False).eval()
    ids, mask = documents.ids[documents.valid], documents.attention[documents.valid]
    states = whole(input_ids=ids, attention_mask=mask.long()).last_hidden_state[:, 0]
    expected = mean_of_documents(states, documents, cast(nn.Linear, backbone.project))
    torch.testing.assert_close(run(backbone, documents), expected)
    assert backbone.loaded is not None
    assert backbone.loaded.left_out
    assert all("cls." in name or "pooler." in name for name in backbone.loaded.left_out)


def test_the_paper_preset_takes_the_weights_of_its_text_encoder() -> None:
    config = resolve("cm2", ["model.encoders.text.pretrained=tinybert"], preset="paper")
    text = config.model.encoders.text  # type: ignore[union-attr]
    assert (text.kind, text.pretrained, text.hidden, text.layers) == ("pretrained", "tinybert", 312, 4)
    with pytest.raises(UserError, match=r"text.vocabulary is unknown \(valid here: checkpointing"):
        resolve("cm2", ["model.encoders.text.pretrained=tinybert", "model.encoders.text.vocabulary=99"])


def test_a_folder_may_come_in_several_files(tmp_path: Path) -> None:
    network = BertModel(BertConfig(**SIZES), add_pooling_layer=False)
    network.save_pretrained(tmp_path / "shards", max_shard_size="1KB")
    (tmp_path / "shards" / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    add("shards", str(tmp_path / "shards"))
    backbone, _ = text_backbone(pretrained="shards")
    for (name, one), other in zip(network.state_dict().items(), backbone.bert.parameters(), strict=True):
        torch.testing.assert_close(other, one, msg=name)


@pytest.mark.parametrize(
    "network",
    [
        lambda: DistilBertModel(
            DistilBertConfig(
                vocab_size=9, dim=8, n_layers=2, n_heads=2, hidden_dim=12, max_position_embeddings=16
            )
        ),
        lambda: RobertaModel(RobertaConfig(**SIZES, pad_token_id=0), add_pooling_layer=False),
    ],
    ids=["distilbert", "roberta"],
)  # fmt: skip
def test_other_encoders_of_text_are_read_alike(tmp_path: Path, network: Any) -> None:
    torch.manual_seed(4)
    network().save_pretrained(tmp_path / "text")
    words(tmp_path / "text", "<pad>")
    backbone, tokenizer = text_backbone(pretrained=str(tmp_path / "text"), pooling="mean", intermediate=12)
    documents = encoded(tokenizer, TEXTS)
    ids, mask = documents.ids[documents.valid], documents.attention[documents.valid]
    whole = AutoModel.from_pretrained(tmp_path / "text").eval()
    states = whole(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    means = torch.stack([state[own].mean(0) for state, own in zip(states, mask, strict=True)])
    expected = mean_of_documents(means, documents, cast(nn.Linear, backbone.project))
    torch.testing.assert_close(run(backbone, documents), expected)


def test_a_pretrained_tokenizer_survives_saving_with_its_padding_and_architecture(tmp_path: Path) -> None:
    RobertaModel(RobertaConfig(**SIZES, pad_token_id=0)).save_pretrained(tmp_path / "text")
    words(tmp_path / "text", "<pad>")
    one = WordPiece.pretrained(str(tmp_path / "text"))
    one.save(tmp_path / "t.json")
    again = WordPiece.load(tmp_path / "t.json")
    assert (again.padding, again.size, again.architecture) == (one.padding, one.size, one.architecture)
    assert again.encode(TEXTS, 8).ids.tolist() == one.encode(TEXTS, 8).ids.tolist()


def test_a_frozen_text_encoder_learns_its_projection_alone(bert: Path) -> None:
    backbone, tokenizer = text_backbone(pretrained=str(bert), freeze=True)
    backbone.train()
    documents = encoded(tokenizer, TEXTS)
    backbone.advance(backbone.start(documents, None), 0, 2).x.sum().backward()
    assert {name for name, p in backbone.named_parameters() if p.requires_grad} == {
        "project.weight", "project.bias"
    }  # fmt: skip
    assert not backbone.bert.training
    assert backbone.project.weight.grad is not None


def test_recomputing_layers_of_text_changes_no_gradient(bert: Path) -> None:
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone, tokenizer = text_backbone(pretrained=str(bert), dropout=0.0, checkpointing=checkpointing)
        backbone.train()
        backbone.advance(backbone.start(encoded(tokenizer, TEXTS), None), 0, 2).x.square().sum().backward()
        grads.append({name: p.grad for name, p in backbone.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, msg=name)


def test_a_trained_model_is_rebuilt_without_the_weights_it_started_from(bert: Path, vit: Path) -> None:
    config = EncoderConfig.model_validate(
        {
            "text": {"pretrained": str(bert), "length": 8},
            "image": {"kind": "vit", "pretrained": str(vit), **VIT},
        }
    )
    tokenizer = WordPiece.pretrained(str(bert))
    shapes: Mapping[str, Any] = {
        "notes": TextShape(tokenizer.size, tokenizer.padding, tokenizer.architecture),
        "scan": ImageShape(3, 32, 32),
    }
    trained = build(shapes, config)
    for folder in (bert, vit):
        (folder / "model.safetensors").unlink()
    again = build(shapes, without_weights(config))
    again.load_state_dict(trained.state_dict())
    assert again.backbone("notes").loaded is None
    with pytest.raises(DataError, match="holds no safetensors"):
        build(shapes, config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 312}, r"encoders.text.hidden is 312; weights .* have 8: set it to 8"),
        ({"heads": 4}, r"encoders.text.heads is 4; weights .* have 2"),
        ({"length": 64}, r"encoders.text.length is 64; weights .* have 16 positions"),
    ],
)
def test_sizes_that_are_not_those_of_the_folder_are_refused(
    bert: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        text_backbone(pretrained=str(bert), **settings)


def test_the_four_layer_tinybert_has_its_published_size() -> None:
    sizes = {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 312, "num_hidden_layers": 4,
        "num_attention_heads": 12, "intermediate_size": 1200, "max_position_embeddings": 512,
    }  # fmt: skip
    config = EncoderConfig.model_validate(
        {"text": {"kind": "pretrained", "pretrained": "scratch", "length": 512, "out_dim": 512}}
    )
    with torch.device("meta"):
        backbone = build({"notes": TextShape(30522, 0, json.dumps(sizes))}, config).backbone("notes")
    assert sum(p.numel() for p in backbone.bert.parameters()) == 14_252_592  # without its pooler
    assert sum(p.numel() for p in backbone.project.parameters()) == 160_256


def test_a_tokenizer_of_other_weights_is_refused(bert: Path) -> None:
    tokenizer = WordPiece.train(["a text of some more letters than there are embeddings"], 100)
    config = EncoderConfig.model_validate({"text": {"pretrained": str(bert), "length": 8}})
    architecture = WordPiece.pretrained(str(bert)).architecture
    with pytest.raises(UserError, match="they do not belong together"):
        build({"notes": TextShape(tokenizer.size, tokenizer.padding, architecture)}, config)
    with pytest.raises(UserError, match=r"take tokenizer and shape from the same weights"):
        build({"notes": TextShape(tokenizer.size, tokenizer.padding)}, config)


def test_folders_that_hold_no_text_encoder_are_refused(bert: Path, vit: Path) -> None:
    (bert / "vocab.txt").unlink()
    (vit / "vocab.txt").write_text("\n".join(WORDS))
    with pytest.raises(DataError, match="have no tokenizer"):
        WordPiece.pretrained(str(bert))
    (bert / "config.json").unlink()
    with pytest.raises(DataError, match=r"has no config.json and is no residual network"):
        WordPiece.pretrained(str(bert))
    config = EncoderConfig.model_validate({"text": {"pretrained": str(vit), "length": 8}})
    shape = TextShape(9, 0, (vit / "config.json").read_text())
    with pytest.raises(DataError, match="are a 'vit', which is no text encoder that sklar knows: bert, "):
        build({"notes": shape}, config)


def test_the_kind_of_text_encoder_follows_from_naming_weights() -> None:
    for settings, kind in (
        ({}, "bert"),
        ({"pretrained": "scratch", "hidden": 8}, "bert"),
        ({"pretrained": "tinybert", "hidden": 312}, "pretrained"),
    ):
        assert EncoderConfig.model_validate({"text": settings}).text.kind == kind
