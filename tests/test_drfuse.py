"""DrFuse: pooling of logits, attention, divergence and ranking against closed forms and plain loops."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from sklar.encoders import TableShape
from sklar.errors import UserError
from sklar.models import DrFuseConfig, create
from sklar.models.drfuse import DrFuse, LabelAttention, divergence, pool_logits
from stays import SETS, patterns, stays, tiny_model

TRI = "ehr+cxr+note"


def model(names: str = TRI, **settings: object) -> DrFuse:
    built = tiny_model("drfuse", names, **settings)
    assert isinstance(built, DrFuse)
    return built


def there(*rows: tuple[int, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=5), st.randoms())
def test_pooled_logits_are_the_logit_of_the_mean_probability(values: list[float], random: object) -> None:
    logits = torch.tensor(values, dtype=torch.float64).view(1, -1, 1)
    everything = torch.ones(1, len(values), dtype=torch.bool)
    pooled = pool_logits(logits, everything)
    torch.testing.assert_close(pooled, torch.logit(logits.sigmoid().mean(1)), rtol=1e-6, atol=1e-6)
    random.shuffle(values)  # type: ignore[attr-defined]
    again = pool_logits(torch.tensor(values, dtype=torch.float64).view(1, -1, 1), everything)
    torch.testing.assert_close(again, pooled)


def test_pooling_repeats_what_is_equal_and_returns_what_is_alone() -> None:
    equal = torch.full((1, 3, 1), 4.0)
    torch.testing.assert_close(pool_logits(equal, there((1, 1, 1))), torch.tensor([[4.0]]))
    extreme = torch.tensor([[[60.0], [-60.0]], [[60.0], [0.0]], [[0.0], [0.0]]])
    pooled = pool_logits(extreme, there((1, 1), (1, 0), (0, 0)))
    torch.testing.assert_close(pooled, torch.tensor([[0.0], [60.0], [0.0]]))


def test_the_divergence_of_both_sides_is_jensen_and_shannon_s() -> None:
    one, other = torch.randn(2, 4, 3, dtype=torch.float64).unbind()
    p, q = (side.sigmoid().numpy() for side in (one, other))
    wanted = np.array(
        [
            sum(jensenshannon([a, 1 - a], [b, 1 - b]) ** 2 for a, b in zip(rows, others, strict=True))
            for rows, others in zip(p, q, strict=True)
        ]
    )
    both = divergence(one, other) + divergence(-one, -other)
    torch.testing.assert_close(both, torch.from_numpy(wanted))
    mean = (p + q) / 2
    onesided = (p * np.log(p / mean) + q * np.log(q / mean)).sum(1) / 2
    torch.testing.assert_close(divergence(one, other), torch.from_numpy(onesided))


def test_the_divergence_is_a_mean_over_paired_rows_only() -> None:
    built = model("ehr+cxr").eval()
    batch = stays(there((1, 1), (1, 0), (0, 1), (1, 0)), "ehr+cxr")
    alone = batch.rows(torch.tensor([0]))
    torch.testing.assert_close(built(batch).penalties["shared"], built(alone).penalties["shared"])


def test_pairs_without_the_hub_count_where_the_hub_is_absent() -> None:
    built = model().eval()
    both = built(stays(there((0, 1, 1)))).penalties["shared"]
    assert both > 0
    batch = stays(there((1, 1, 1)))
    shared, _ = built._encode(batch)
    hub = divergence(shared[:, :1], shared[:, 1:]).sum()
    torch.testing.assert_close(built(batch).penalties["shared"], hub)


@pytest.mark.parametrize("names", SETS)
def test_without_pairs_divergence_and_ranking_are_zero_with_finite_slopes(names: str) -> None:
    built = model(names).train()
    batch = stays(torch.eye(len(SETS[names]), dtype=torch.bool).repeat(2, 1), names)
    objective = built.objective(built(batch), batch.target)
    objective.total.backward()
    assert objective.terms["shared"] == 0
    assert objective.terms["ranking"] == 0
    assert all(torch.isfinite(p.grad).all() for p in built.parameters() if p.grad is not None)


def test_attention_has_a_weight_per_label_and_none_for_what_is_absent() -> None:
    built = tiny_model("drfuse", TRI, outputs=4, task="multilabel").eval()
    present = patterns(TRI)
    for batch in (stays(present, outputs=4), stays(present[:1], outputs=4)):
        attention = built(batch).attention
        assert attention.shape == (len(batch), 4, 4)
        torch.testing.assert_close(attention.sum(2), torch.ones(len(batch), 4))
        absent = ~batch.present.unsqueeze(1).expand(-1, 4, -1)
        assert (attention[..., :3][absent] == 0).all()
        assert (attention[..., 3] > 0).all()


def test_label_attention_is_what_loops_say() -> None:
    torch.manual_seed(0)
    attention = LabelAttention(3, 2)
    tokens, mask = torch.randn(2, 4, 3), there((1, 0, 1, 1), (0, 0, 0, 1))
    features, weights = attention(tokens, mask)
    for row in range(2):
        own = tokens[row, mask[row]]
        parts = attention.project(own)
        query, value = parts[:, :3].mean(0), parts[:, 3:6]
        for label in range(2):
            key = parts[:, 6 + 3 * label : 9 + 3 * label]
            share = (key @ query / 3**0.5).softmax(0)
            torch.testing.assert_close(weights[row, label, mask[row]], share)
            torch.testing.assert_close(features[row, label], share @ value)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_ranking_is_what_loops_say(weighted: bool) -> None:
    built = tiny_model("drfuse", TRI, outputs=3, task="multilabel").eval()
    batch = stays(patterns(TRI, 2), outputs=3, seed=2)
    target = batch.target.clone()
    target[4, 1] = target[5] = torch.nan
    weight = torch.rand(len(batch)) if weighted else None
    with torch.no_grad():  # the loops below read numbers
        output = built(batch)
        found = built.objective(output, target, weight).terms["ranking"]
    heads = list(output.heads.values())
    total = 0.0
    for i, j in combinations(range(4), 2):
        above, below = 0.0, 0.0
        for row in range(len(batch)):
            has = [*batch.present[row].tolist(), bool(batch.present[row].sum() > 1)]
            for label in range(3):
                y = target[row, label]
                if not (has[i] and has[j]) or y.isnan():
                    continue
                losses = [
                    -float(torch.nn.functional.logsigmoid((2 * y - 1) * heads[k].logits[row, label]))
                    for k in (i, j)
                ]
                sign = 1.0 if losses[0] < losses[1] else -1.0
                gap = float(output.attention[row, label, i] - output.attention[row, label, j])
                w = 1.0 if weight is None else float(weight[row])
                if -sign * gap > 0:
                    above, below = above + w * -sign * gap, below + w
        total += above / below if below else 0.0
    assert float(found) == pytest.approx(total / 6, rel=1e-4)
    assert total > 0


def test_more_attention_goes_where_the_loss_is_smaller() -> None:
    built = model("ehr+cxr", ranking_weight=100.0).train()
    batch = stays(torch.ones(32, 2, dtype=torch.bool), "ehr+cxr")
    optimiser = torch.optim.Adam(built.attention.parameters(), 0.05)
    torch.manual_seed(0)
    first = built.eval().objective(built(batch), batch.target).terms["ranking"].item()
    for _ in range(20):
        optimiser.zero_grad()
        built.objective(built(batch), batch.target).terms["ranking"].backward()
        optimiser.step()
    assert built.objective(built(batch), batch.target).terms["ranking"].item() < 0.7 * first


def test_a_modality_called_shared_is_refused() -> None:
    shapes = {"shared": TableShape(2, ()), "other": TableShape(2, ())}
    with pytest.raises(UserError, match="drfuse calls its common vector 'shared'"):
        create(shapes, DrFuseConfig())
