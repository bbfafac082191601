"""Where a block attaches that lets one modality, the hub, and each of the others modulate each other."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from sklar.encoders import Backbone
from sklar.errors import UserError, nearest

After = Literal["last", "every"] | Annotated[int, Field(ge=1)]
"""After which stages of a backbone: the last, every one, or that many."""

HUBS = {"daft": "target", "drfuse": "hub", "mmtm": "hub"}
"""Models that one modality stands in the middle of, and the setting that names it."""


def hub_and_others(
    names: Sequence[str], hub: str | None, model: str, field: str
) -> tuple[str, tuple[str, ...]]:
    """The modality that exchanges with all others (the first, unless named), and those others in order.

    Raises:
        UserError: There is no such modality, or none beside it.
    """
    if len(names) < 2:
        raise UserError(
            f"{model} fuses two modalities or more, the data have {len(names)} ({', '.join(names)}): "
            "train the model 'single' with model.modality, or add a modality to the schema"
        )
    if hub is not None and hub not in names:
        raise UserError(f"{field} is {hub!r}; name one of {', '.join(names)}{nearest(hub, names)}")
    chosen = hub or names[0]
    return chosen, tuple(name for name in names if name != chosen)


def tell_of_absent_hub(config: BaseModel, share: Mapping[str, float]) -> None:
    """Warn where the hub is often absent and another modality is not: the model was made for the opposite.

    Args:
        config: Of any model.
        share: Of the training rows that have each modality, in the order of the modalities.
    """
    model = getattr(config, "name", "")
    if model not in HUBS:
        return
    field = HUBS[model]
    hub = getattr(config, field) or next(iter(share))
    fullest = max(share, key=lambda name: share[name])
    if hub not in share or share[hub] > 0.75 or 1 - share[fullest] > (1 - share[hub]) / 2:
        return
    warnings.warn(
        f"{model} is built on {hub!r}, which {1 - share[hub]:.0%} of the training rows lack: it does better "
        f"on a modality that is nearly always there, for instance model.{field}={fullest} "
        f"(absent from {1 - share[fullest]:.0%})",
        stacklevel=2,
    )


def stages(backbone: Backbone, after: After, name: str) -> tuple[int, ...]:
    """The numbers of stages after which a modality takes part.

    Raises:
        UserError: Its backbone has fewer stages.
    """
    last = len(backbone.widths)
    if after == "last":
        return (last,)
    if after == "every":
        return tuple(range(1, last + 1))
    if after > last:
        raise UserError(
            f"model.after is {after}, but the backbone of {name!r} has {last} stages: choose from 1 to "
            f"{last}, 'last' or 'every'"
        )
    return (after,)


def widths(backbones: Mapping[str, Backbone], at: Mapping[str, int]) -> dict[str, int]:
    """Channels of each modality where it takes part."""
    return {name: backbones[name].widths[stage - 1] for name, stage in at.items()}
