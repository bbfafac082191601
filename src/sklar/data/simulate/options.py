"""A scenario from words: the options of the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from sklar.data.simulate.scenario import Scenario
from sklar.errors import UserError, nearest

_ADAPTER: TypeAdapter[Scenario] = TypeAdapter(Scenario)


def scenario_of(options: Mapping[str, Any], settings: Sequence[str] = ()) -> Scenario:
    """Build a scenario from option values as a user types them.

    ``a,b`` is a list, ``a=1,b=2`` a table, everything else YAML.

    Args:
        options: Fields of `Scenario` by name; None leaves the default.
        settings: More of them, such as ``rank=4``; a field's last mention counts.

    Raises:
        UserError: An unknown field (with the nearest one), or a value that is not of its type or range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"--set takes KEY=VALUE, such as rank=4; got {setting!r}")
        given[name.strip()] = value
    known = [field.name for field in fields(Scenario)]
    for name in given:
        if name not in known:
            near = nearest(name, known)
            raise UserError(f"{name} is no setting of a simulation{near} (there are {', '.join(known)})")
    try:
        return _ADAPTER.validate_python(
            {name: _said(value) if isinstance(value, str) else value for name, value in given.items()}
        )
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(
            refused := first.get("ctx", {}).get("error"), UserError
        ):  # what the scenario itself says
            raise refused from None
        raise UserError(f"{first['loc'][0]} = {given[str(first['loc'][0])]!r}: {first['msg']}") from None


def _said(text: str) -> Any:
    """The value of a word, of a list, or of a table."""
    if text.lstrip().startswith(("[", "{")):
        return _scalar(text)
    parts = [part.strip() for part in text.split(",")]
    if all("=" in part for part in parts):
        return {key.strip(): _scalar(value) for key, _, value in (part.partition("=") for part in parts)}
    return [_scalar(part) for part in parts] if len(parts) > 1 else _scalar(text)


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{text!r} is not a value ({error})") from None
