"""Several processes that train one model: what follows from the rows of all of them.

Each process holds a share of the rows of a step. Inside `together`, which training opens around a step,
`gather` gives the rows of all processes and `mean` divides by the count of all; everywhere else, and in a
single process, both are what they would be without any other.

Gradients are those that an average over processes (what DDP does) turns into the gradient of one process that
holds all rows.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from jaxtyping import Float, Num, Shaped
from torch import Tensor, nn
from torch.autograd import Function

from sklar.errors import SklarError

Result = TypeVar("Result")

_step = {"shared": False}


def count() -> int:
    """Number of processes that train together; 1 without others."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return dist.get_rank() if count() > 1 else 0


@contextmanager
def together() -> Iterator[None]:
    """Within, rows and counts are those of all processes; every process has to enter."""
    _step["shared"] = count() > 1
    try:
        yield
    finally:
        _step["shared"] = False


def gather(rows: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "total *shape"]:
    """The rows of all processes, with gradient, in the order in which they were dealt.

    Process r of W has rows r, r + W, r + 2 W, ... of a step (`sklar.data.loading.EpochBatches`).
    """
    return _gather(rows) if _step["shared"] else rows


def mean(total: Float[Tensor, "*k"], weight: Num[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    """Totals divided by their weights, zero without any.

    With others it is this process's part of their common mean, times their number: the average over
    processes is the mean. Every loss that training minimises divides by it.
    """
    if not _step["shared"]:
        return total / torch.where(weight > 0, weight, 1)
    everyone = weight.detach().clone()
    dist.all_reduce(everyone)
    return total * count() / torch.where(everyone > 0, everyone, 1)


def agree(module: nn.Module) -> None:
    """Give every process the first one's parameters and buffers, where steps are shared."""
    if _step["shared"]:
        for value in module.state_dict().values():
            dist.broadcast(value.view(torch.uint8) if value.dtype == torch.bool else value, 0)


def sums(values: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Sums over processes, where steps are shared."""
    if _step["shared"]:
        dist.all_reduce(values)
    return values


def collect(values: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "total *shape"]:
    """The rows of all processes without gradient, as `gather` orders them, at any time."""
    return _gather(values.detach()) if count() > 1 else values


def average_batch_norms(model: nn.Module) -> None:
    """Running statistics of batch norms: the mean over processes, each of which saw its own rows."""
    if count() == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            for value in (module.running_mean, cast(Tensor, module.running_var)):
                dist.all_reduce(value)
                value /= count()


def leads() -> bool:
    """Whether this process writes files and speaks: the first one, or the only one.

    Before the processes know each other, the launcher's environment says so.
    """
    if count() > 1:
        return dist.get_rank() == 0
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


def led(action: Callable[[], Result]) -> Result:
    """The result of an action that only the first process performs, in every process.

    An error that sklar raises on purpose is the first process's to tell; the others end with its exit code.
    """
    if count() == 1:
        return action()
    outcome: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            outcome[0] = action()
        except SklarError as error:
            outcome[1] = error.exit_code
            dist.broadcast_object_list(outcome, 0)
            raise
    dist.broadcast_object_list(outcome, 0)
    if outcome[1] is not None:
        raise SystemExit(outcome[1])
    return cast(Result, outcome[0])


class _Shared(Function):
    """(n, ...) of equal shape in every process to (W, n, ...); gradients of a share add up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        everyone = [torch.empty_like(rows) for _ in range(count())]
        dist.all_gather(everyone, rows)
        return torch.stack(everyone)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total[dist.get_rank()]


def _gather(rows: Tensor) -> Tensor:
    if rows.dtype == torch.bool:
        return _gather(rows.to(torch.uint8)).bool()
    own = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(count())]
    dist.all_gather(sizes, own)
    lengths = torch.cat(sizes)
    longest = int(lengths.max())
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    shares = cast(Tensor, _Shared.apply(padded.contiguous()))  # type: ignore[no-untyped-call]
    dealt = torch.arange(longest, device=rows.device).unsqueeze(1) < lengths
    return shares.transpose(0, 1).flatten(0, 1)[dealt.flatten()]
