"""What an alignment refuses at its door, and what it answers."""

from collections.abc import Iterable, Mapping


def width(dims: Mapping[str, int]) -> int:
    """The common width of the latents.

    Raises:
        ValueError: Fewer than two modalities, unequal widths, or a width below one.
    """
    if len(dims) < 2:
        raise ValueError(f"alignment needs at least two modalities, got {len(dims)} ({', '.join(dims)})")
    if len(set(dims.values())) > 1:
        raise ValueError(f"coordinates are coupled one by one, so widths must agree; got {dict(dims)}")
    dim = next(iter(dims.values()))
    if dim < 1:
        raise ValueError(f"a latent needs at least one coordinate, got a width of {dim}")
    return dim


def check_choice(option: str, value: str, valid: Iterable[str]) -> None:
    """Refuse a name that is not among the valid ones."""
    names = list(valid)
    if value not in names:
        raise ValueError(f"{option} must be one of {', '.join(names)}; got {value!r}")


def check_range(option: str, value: float, low: float, high: float | None = None) -> None:
    """Refuse a number outside [low, high], NaN included."""
    if not (low <= value and (high is None or value <= high)):
        allowed = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{option} must be {allowed}, got {value}")


def check_combination(*, pit: str, term: str, dim: int, components: int, routing: str, estimate: str) -> None:
    """Refuse options that exclude each other.

    Raises:
        ValueError: With what to change.
    """
    if pit == "marginal" and components > 1 and dim > 1 and routing == "joint":
        raise ValueError(
            f"pit='marginal' with {components} components is a composite likelihood, whose maximum "
            "the mixtures can move away from the latents' law: it needs routing='ifm'. pit='rosenblatt' "
            "takes either"
        )
    if term != "copula" and pit != "rosenblatt":
        raise ValueError(
            f"term={term!r} couples no uniforms, so pit={pit!r} has no say; leave it 'rosenblatt'"
        )
    if estimate == "learned" and (term != "copula" or pit not in ("rosenblatt", "marginal")):
        what = f"term={term!r}" if term != "copula" else f"pit={pit!r}"
        raise ValueError(
            f"{what} learns no copula between coordinates for imputation to draw from; use estimate='moments'"
        )
