"""BERT-type backbones for documents."""

from typing import cast, final

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from sklar.encoders.base import Backbone, Feature, Place
from sklar.types import Documents, Input


class BertTextConfig(BaseModel):
    """Settings of the text backbone, initialised from scratch.

    ``vocabulary`` bounds the word pieces that the tokenizer learns on the training split, ``length``
    the tokens of a document.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    intermediate: int = Field(default=128, ge=1)
    out_dim: int = Field(default=64, ge=1)
    vocabulary: int = Field(default=2000, ge=10)
    length: int = Field(default=64, ge=3, le=512)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> "BertTextConfig":
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        return self


@final
class BertText(Backbone):
    """A BERT encoder per document, then the mean of the documents' [CLS] states.

    Stages: the word encoder, which turns each document into one token, and the mean over documents
    with a linear map. Only documents that exist are encoded: an attention mask of zeros does not
    blank a document, it makes attention uniform. Equal documents of a batch share one pass, and so one
    dropout mask.

    Args:
        tokens: Size of the tokenizer's vocabulary.
        padding: Id of its padding token.
        config: Settings.
    """

    timed = True

    def __init__(self, tokens: int, padding: int, config: BertTextConfig) -> None:
        super().__init__()
        self.bert = BertModel(
            BertConfig(
                vocab_size=tokens,
                hidden_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=config.intermediate,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
                max_position_embeddings=config.length,
                pad_token_id=padding,
                type_vocab_size=1,
            ),
            add_pooling_layer=False,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(config.hidden, config.out_dim)
        self.widths = (config.hidden, config.out_dim)
        self.out_dim = config.out_dim

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
        # lists of diagnoses repeat themselves: each distinct document is encoded once
        words = torch.cat([documents.ids[valid][:, :length], attention[:, :length].long()], 1)
        distinct, member = torch.unique(words, dim=0, return_inverse=True)
        states = self.bert(
            input_ids=distinct[:, :length], attention_mask=distinct[:, length:]
        ).last_hidden_state[:, 0]
        x = states.new_zeros((*valid.shape, states.shape[-1]))
        x[valid] = states[member]
        return Feature(x, valid, rows, batch)

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

    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        return feature.scatter(feature.x.squeeze(1))
