"""A schema as a YAML file that people write."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from sklar.data.modalities import Modality
from sklar.data.schema import Schema
from sklar.errors import UserError, nearest

KINDS: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in get_args(get_args(Modality)[0])
}
"""Every kind of modality by the ``kind`` that a file gives it."""


def read_schema(path: str | os.PathLike[str]) -> Schema:
    """The schema that a YAML file describes; its keys are the arguments of `Schema` and of the modalities.

    Raises:
        UserError: There is no such file, it is no YAML, or what it says is no schema, key by key.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}). Give the path of a YAML file with a schema"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    return schema_of(content, str(path))


def any_schema(given: Schema | Mapping[str, Any] | str | os.PathLike[str] | None) -> Schema | None:
    """A schema as it is, from plain values, or from a YAML file; None stays None.

    Raises:
        UserError: It is none of these.
    """
    if given is None or isinstance(given, Schema):
        return given
    return read_schema(given) if isinstance(given, str | os.PathLike) else schema_of(given)


def schema_of(content: Any, where: str = "schema") -> Schema:
    """The schema that plain values describe.

    Args:
        content: What `Schema.model_dump` returns, or as much of it as has no default.
        where: How errors call it.

    Raises:
        UserError: They describe none.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: a schema is a mapping with id, label and modalities, not {content!r}")
    try:
        return Schema.model_validate(content)
    except ValidationError as error:
        raise UserError("; ".join(f"{where}: {_explain(item)}" for item in error.errors())) from None


def _explain(item: Any) -> str:
    keys = [str(part) for part in item["loc"] if part not in KINDS]
    key = ".".join(keys)
    if item["type"] == "extra_forbidden":
        kind = next((KINDS[part] for part in item["loc"] if part in KINDS), Schema)
        valid = list(kind.model_fields)
        return f"{key} is unknown{nearest(keys[-1], valid)} (valid here: {', '.join(valid)})"
    if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{key}: set kind to one of {', '.join(KINDS)}"
    if item["type"] == "missing":
        return f"{key} is required"
    message = item["msg"].removeprefix("Value error, ")
    return f"{key + ': ' if key else ''}{message}" + (f" (got {item['input']!r})" if key else "")
