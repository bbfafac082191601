"""Unified is linear in what is present; MedFuse is an LSTM over exactly what is present."""

import torch

from stays import patterns, stays, tiny_model

TRI = ("ehr", "cxr", "note")


def present(*rows: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_unified_adds_one_linear_map_per_modality_that_is_there() -> None:
    built = tiny_model("unified", outputs=4, task="multilabel").eval()
    weight = built.classifier.weight
    assert weight.shape == (4, 3 * 6)
    batch = stays(patterns("ehr+cxr+note"), outputs=4)
    output = built(batch)
    wanted = built.classifier.bias.expand(len(batch), 4).clone()
    for column, part in enumerate(weight.split(6, 1)):
        own = batch.present[:, column].nonzero().squeeze(1)
        wanted[own] += output.latents[TRI[column]][own] @ part.T
    torch.testing.assert_close(output.logits, wanted)


def test_an_encoder_of_what_no_row_has_learns_nothing_from_unified_s_heads() -> None:
    built = tiny_model("unified").train()
    batch = stays(present((1, 0, 1), (1, 0, 0)))
    built.objective(built(batch), batch.target).total.backward()
    image = built.get_submodule("encoders.backbones.cxr")
    assert all(p.grad is None or (p.grad == 0).all() for p in image.parameters())
    assert (built.get_submodule("heads.cxr").weight.grad == 0).all()


def test_medfuse_reads_exactly_the_tokens_that_are_there_in_their_order() -> None:
    built = tiny_model("medfuse").eval()
    batch = stays(present((1, 0, 1), (1, 1, 1)))
    output = built(batch)
    for row, names in ((0, ("ehr", "note")), (1, TRI)):
        tokens = torch.stack([output.latents[name][row] for name in names]).unsqueeze(0)
        states, _ = built.lstm(tokens)
        torch.testing.assert_close(output.logits[row], built.classifier(states[0, -1]))
        backwards, _ = built.lstm(tokens.flip(1))
        assert (built.classifier(backwards[0, -1]) - output.logits[row]).abs().max() > 1e-5


def test_every_encoder_of_three_learns_from_medfuse_s_logits() -> None:
    built = tiny_model("medfuse").eval()
    built(stays(present((1, 1, 1), (1, 1, 1)))).logits.sum().backward()
    for name in TRI:
        backbone = built.get_submodule(f"encoders.backbones.{name}")
        assert sum(float(p.grad.abs().sum()) for p in backbone.parameters() if p.grad is not None) > 0, name
