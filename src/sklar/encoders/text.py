"""BERT-type backbones for documents."""

import json
from typing import Any, Literal, cast, final

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from transformers import AutoModel, BertConfig, BertModel, PreTrainedModel
from transformers.models.auto import CONFIG_MAPPING

from sklar.encoders.attention import configuration, heads_divide_hidden, without_dropout
from sklar.encoders.base import Backbone, Feature, Place
from sklar.encoders.pretrained import fill
from sklar.errors import DataError, UserError
from sklar.types import Documents, Input

ENCODER_TYPES: dict[str, dict[str, Any]] = {
    "bert": {"add_pooling_layer": False},
    "distilbert": {},
    "electra": {},
    "mpnet": {"add_pooling_layer": False},
    "roberta": {"add_pooling_layer": False},
    "xlm-roberta": {"add_pooling_layer": False},
}
"""Architectures that turn token ids and a mask into a state per token, and how to build them headless."""


class _TextConfig(BaseModel):
    """What text backbones have in common; ``length`` is the most tokens of a document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out_dim: int = Field(default=64, ge=1)
    length: int = Field(default=64, ge=3, le=512)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    pooling: Literal["cls", "mean"] = "cls"
    """Which vector a document has: the state of its first token, or the mean over its tokens."""
    checkpointing: bool = False
    """Recompute layers in the backward pass: less memory, about one and a half times as long."""


@final
class BertTextConfig(_TextConfig):
    """Settings of a text backbone that starts from random weights.

    ``vocabulary`` bounds the word pieces that the tokenizer learns on the training split.
    """

    kind: Literal["bert"] = "bert"
    hidden: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    intermediate: int = Field(default=128, ge=1)
    vocabulary: int = Field(default=2000, ge=10)

    _check = model_validator(mode="after")(heads_divide_hidden)


@final
class PretrainedTextConfig(_TextConfig):
    """Settings of a text backbone whose architecture, weights and tokenizer come from this machine.

    ``pretrained`` is a name that `sklar.weights` keeps, or a folder of transformers. The sizes that are given
    must be those of the folder; None asks for nothing.
    """

    kind: Literal["pretrained"] = "pretrained"
    pretrained: str
    hidden: int | None = None
    layers: int | None = None
    heads: int | None = None
    intermediate: int | None = None
    freeze: bool = False


@final
class BertText(Backbone):
    """A BERT encoder per document, then the mean of the documents' vectors.

    Stages: the word encoder, which turns each document into one token, and the mean over documents
    with a linear map. Only documents that exist are encoded: an attention mask of zeros does not
    blank a document, it makes attention uniform. Equal documents of a batch share one pass, and so one
    dropout mask.

    Args:
        tokens: Size of the tokenizer's vocabulary.
        padding: Id of its padding token.
        config: Settings.
        architecture: Content of the ``config.json`` of a pretrained encoder.

    Raises:
        UserError: The tokenizer or the settings do not suit the pretrained encoder.
        DataError: The pretrained encoder is of an architecture that encodes no documents.
    """

    timed = True

    def __init__(
        self,
        tokens: int,
        padding: int,
        config: BertTextConfig | PretrainedTextConfig,
        architecture: str | None = None,
    ) -> None:
        super().__init__()
        match config:
            case BertTextConfig():
                self.bert: PreTrainedModel = _scratch(tokens, padding, config)
            case PretrainedTextConfig():
                self.bert = _pretrained(tokens, config, architecture)
                build = ENCODER_TYPES[self.bert.config.model_type]
                self.loaded = fill(self.bert, config.pretrained, "encoders.text", {}, **build)
        if config.checkpointing:
            _recompute(self.bert)
        self.padding = padding
        self.mean_of_tokens = config.pooling == "mean"
        hidden = int(self.bert.config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(hidden, config.out_dim)
        self.widths = (hidden, config.out_dim)
        self.out_dim = config.out_dim
        if isinstance(config, PretrainedTextConfig) and config.freeze:
            self.freeze("bert", fixed=0)

    def start(self, item: Input, rows: Int[Tensor, " n"] | None) -> Feature:
        documents = cast(Documents, item)
        batch = len(documents)
        if rows is not None:
            documents = documents.rows(rows)
        valid = documents.valid
        attention = documents.attention[valid]
        if not len(attention):  # no row has a document
            nothing = next(self.bert.parameters()).new_zeros(*valid.shape, self.widths[0])
            return Feature(nothing, valid, rows, batch)
        length = int(attention.sum(1).amax())  # longest document of the batch
        if documents.strength is not None:
            words = self._words(documents.ids[valid][:, :length], documents.strength[valid][:, :length])
            mask = attention[:, :length]
            states = self.bert(inputs_embeds=words, attention_mask=mask.long()).last_hidden_state
            return Feature(_placed(self.vectors(states, mask), valid), valid, rows, batch)
        # lists of diagnoses repeat themselves: each distinct document is encoded once
        words = torch.cat([documents.ids[valid][:, :length], attention[:, :length].long()], 1)
        distinct, member = torch.unique(words, dim=0, return_inverse=True)
        mask = distinct[:, length:]
        states = self.bert(input_ids=distinct[:, :length], attention_mask=mask).last_hidden_state
        vectors = self.vectors(states, mask.bool())
        return Feature(_placed(vectors[member], valid), valid, rows, batch)

    def step(self, stage: int, feature: Feature) -> Feature:
        if stage == 0:
            return Feature(self.dropout(feature.x), feature.valid, feature.rows, feature.batch)
        valid = cast(Tensor, feature.valid).unsqueeze(-1)
        mean = (feature.x * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
        return Feature(self.project(mean), None, feature.rows, feature.batch)

    def parts(self) -> tuple[tuple[str, ...], ...]:
        return ("bert",), (), ("project",), ()

    def tap(self, where: Place) -> int:
        """One token per document before the mean; nothing that a fork could share without the words."""
        return {"fork": 0, "tokens": 1}.get(where, super().tap(where))

    def settings(self) -> str:
        return f"{without_dropout(self.bert)} {self.mean_of_tokens}"

    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        return feature.scatter(feature.x.squeeze(1))

    def _words(self, ids: Int[Tensor, "n l"], strength: Float[Tensor, "n l"]) -> Float[Tensor, "n l width"]:
        """Word vectors on their way from that of padding."""
        table = self.bert.get_input_embeddings()
        own: Tensor = table(ids)
        nothing: Tensor = table(torch.full_like(ids[:1, :1], self.padding))
        return torch.lerp(nothing.expand_as(own), own, strength.unsqueeze(-1))

    def vectors(
        self, states: Float[Tensor, "n l hidden"], there: Bool[Tensor, "n l"]
    ) -> Float[Tensor, "n hidden"]:
        if not self.mean_of_tokens:
            return states[:, 0]
        share = there.unsqueeze(-1).to(states.dtype)
        return (states * share).sum(1) / share.sum(1).clamp(min=1)  # a document has >= 1 token


def _placed(vectors: Float[Tensor, "n width"], valid: Bool[Tensor, "b n"]) -> Float[Tensor, "b n width"]:
    """The vectors of the documents that exist in their places, zeros in the others."""
    x = vectors.new_zeros((*valid.shape, vectors.shape[-1]))
    x[valid] = vectors
    return x


def _scratch(tokens: int, padding: int, config: BertTextConfig) -> PreTrainedModel:
    return BertModel(
        BertConfig(
            vocab_size=tokens,
            **configuration(config),
            max_position_embeddings=config.length,
            pad_token_id=padding,
            type_vocab_size=1,
        ),
        add_pooling_layer=False,
    )


def _pretrained(tokens: int, config: PretrainedTextConfig, architecture: str | None) -> PreTrainedModel:
    """The network without weights yet."""
    if architecture is None:
        raise UserError(
            "encoders.text.kind is 'pretrained', and the shape of the text says nothing of an architecture: "
            "take tokenizer and shape from the same weights (sklar.encoders.WordPiece.pretrained)"
        )
    content: dict[str, Any] = json.loads(architecture)
    kind = str(content.get("model_type"))
    if kind not in ENCODER_TYPES:
        raise DataError(
            f"weights {config.pretrained!r} are a {kind!r}, which is no text encoder that sklar knows: "
            f"{', '.join(ENCODER_TYPES)}"
        )
    theirs = CONFIG_MAPPING[kind].from_dict(content)
    sizes = {
        "hidden": theirs.hidden_size,
        "layers": theirs.num_hidden_layers,
        "heads": theirs.num_attention_heads,
        "intermediate": theirs.hidden_dim if kind == "distilbert" else theirs.intermediate_size,
    }
    for name, size in sizes.items():
        if getattr(config, name) not in (None, size):
            raise UserError(
                f"encoders.text.{name} is {getattr(config, name)}; weights {config.pretrained!r} have "
                f"{size}: set it to {size}, or choose other weights"
            )
    # the family of RoBERTa counts positions from the padding id on
    reach = theirs.max_position_embeddings - (theirs.pad_token_id + 1 if "roberta" in kind else 0)
    if config.length > reach:
        raise UserError(
            f"encoders.text.length is {config.length}; weights {config.pretrained!r} have {reach} positions"
        )
    if tokens > theirs.vocab_size:
        raise UserError(
            f"the tokenizer has {tokens} tokens, weights {config.pretrained!r} have {theirs.vocab_size}: "
            "they do not belong together"
        )
    for name in _DROPOUTS:
        if hasattr(theirs, name):
            setattr(theirs, name, config.dropout)
    build: Any = AutoModel.from_config
    network: PreTrainedModel = build(theirs, **ENCODER_TYPES[kind])
    return network


_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


def _recompute(network: PreTrainedModel) -> None:
    network.config.use_cache = False  # of keys and values, which an encoder has no use for
    # the name of the method differs between versions of transformers
    now = getattr(network, "activation_checkpointing_enable", None)
    (now or network.gradient_checkpointing_enable)({"use_reentrant": False})
