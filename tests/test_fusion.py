"""Fusions read the tokens that the mask leaves, all of them, and nothing else."""

import pytest
import torch
from torch import Generator, Tensor, nn

from sklar.errors import UserError
from sklar.models.fusion import FUSIONS, Fusion, FusionConfig, last_state
from sklar.training.config import resolve

ROWS, MODALITIES, DIM = 6, 3, 4
READ = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)

every_fusion = pytest.mark.parametrize("kind", FUSIONS)


def make(kind: str, **settings: object) -> Fusion:
    torch.manual_seed(0)
    config = FusionConfig.model_validate({"kind": kind, **settings})
    return FUSIONS[kind](MODALITIES, DIM, config).eval()


def tokens(seed: int = 0) -> Tensor:
    return torch.randn(ROWS, MODALITIES, DIM, generator=Generator().manual_seed(seed))


@every_fusion
def test_tokens_that_are_not_read_have_no_influence_and_get_no_gradient(kind: str) -> None:
    fusion = make(kind)
    one = tokens().requires_grad_()
    other = torch.where(READ.unsqueeze(2), one, tokens(1))
    fused = fusion(one, READ)
    torch.testing.assert_close(fusion(other, READ), fused, rtol=0, atol=0)
    fused.square().sum().backward()
    assert one.grad is not None
    assert (one.grad[~READ] == 0).all()
    assert (one.grad[READ].abs().sum(1) > 0).all()


@every_fusion
def test_every_token_that_is_read_changes_the_vector(kind: str) -> None:
    fusion, everything = make(kind), torch.ones_like(READ)
    before = fusion(tokens(), everything)
    for column in range(MODALITIES):
        changed = tokens()
        changed[:, column] = tokens(1)[:, column]
        assert ((fusion(changed, everything) - before).abs().amax(1) > 1e-5).all()


@every_fusion
def test_rows_are_fused_one_by_one(kind: str) -> None:
    fusion = make(kind)
    together = fusion(tokens(), READ)
    assert together.shape == (ROWS, fusion.out_dim)
    assert torch.isfinite(together).all()
    for row in range(ROWS):
        alone = fusion(tokens()[row : row + 1], READ[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-6)


def test_the_lstm_over_a_mask_is_the_lstm_over_those_tokens() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(DIM, 5, 2, batch_first=True)
    masked = last_state(lstm, tokens(), READ)
    for row, mask in enumerate(READ[:-1]):
        states, _ = lstm(tokens()[row : row + 1, mask])
        torch.testing.assert_close(masked[row], states[0, -1])
    assert (masked[-1] == 0).all()


def test_the_mean_is_over_the_tokens_that_are_read() -> None:
    fused = make("mean")(tokens(), READ)
    torch.testing.assert_close(fused[1], tokens()[1, [0, 2]].mean(0))
    assert (fused[-1] == 0).all()


def test_the_paper_s_fusion_has_two_layers_and_is_the_default() -> None:
    config = FusionConfig()
    assert (config.kind, config.layers) == ("lstm", 2)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads is 3; it must divide the latent width, which is 4"):
        make("attention", heads=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.fusion.kind=sum"], "no fusion 'sum'; choose one of lstm, concat, mean, attention"),
        (
            ["model.fusion.kind=attention", "model.fusion.heads=3"],
            r"fusion.heads \(3\) must divide encoders.dim \(64\)",
        ),
        (["model.fusion.layers=0"], "model.fusion.layers = 0: .*greater than or equal to 1"),
    ],
)
def test_mistakes_are_named_with_the_way_out(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve("cm2", settings)
