"""One trunk that several branches share, such as what modalities have in common and what is their own."""

from collections.abc import Callable, Sequence
from typing import cast, final

from jaxtyping import Float, Int
from torch import Tensor, nn

from sklar.encoders.base import Backbone
from sklar.types import Input


@final
class Fork(nn.Module):
    """The first stages of a backbone once, the others once per branch, each ending in d dimensions.

    The branches are backbones of their own, initialised independently; what the trunk does for all is removed
    from every branch but the first.

    Args:
        make: Builds the backbone.
        branches: Names.
        dim: d; a branch of another width goes through a linear map.
        at: Stages of the trunk; None asks the backbone for its place "fork", 0 shares nothing.
    """

    def __init__(
        self, make: Callable[[], Backbone], branches: Sequence[str], dim: int, at: int | None = None
    ) -> None:
        super().__init__()
        made = {name: make() for name in branches}
        trunk, *others = made.values()
        self.at = trunk.tap("fork") if at is None else at
        if self.at:
            for other in others:
                other.drop(range(self.at + 1))
        self.backbones = nn.ModuleDict(made)
        self.projections = nn.ModuleDict(
            {
                name: nn.Identity() if backbone.out_dim == dim else nn.Linear(backbone.out_dim, dim)
                for name, backbone in made.items()
            }
        )

    def forward(self, item: Input, rows: Int[Tensor, " n"] | None) -> dict[str, Float[Tensor, "b d"]]:
        """The vector of each branch; what absent rows hold is of no meaning."""
        branches = {name: cast(Backbone, backbone) for name, backbone in self.backbones.items()}
        first = next(iter(branches.values()))
        stem = first.advance(first.start(item, rows), 0, self.at) if self.at else None
        out = {}
        for name, backbone in branches.items():
            begun = backbone.start(item, rows) if stem is None else stem
            feature = backbone.advance(begun, self.at, len(backbone.widths))
            out[name] = self.projections[name](backbone.pool(feature))
        return out
