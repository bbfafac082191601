"""Reference pages that the library writes: the command line from its own help, settings from their classes.

A page holds ``<!-- generated: NAME -->`` or ``NAME ARGUMENT``, and gets what that function returns.
"""

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from typer.models import CommandInfo

_MARK = re.compile(r"<!-- generated: (\w+) ?([\w.]*) -->")


def commands() -> str:
    """The help of every verb, as the terminal shows it."""
    from sklar.cli import app

    verbs: list[tuple[str, ...]] = [(_name(command),) for command in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        inner = group.typer_instance.registered_commands
        verbs += [(str(group.name), _name(command)) for command in inner]
    plain = os.environ | {"TYPER_USE_RICH": "0", "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    pages = []
    for verb in sorted(verbs):
        start = "from sklar.cli import app; app(prog_name='sklar')"
        words = [sys.executable, "-c", start, *verb, "--help"]
        shown = subprocess.run(words, env=plain, capture_output=True, text=True, check=True).stdout.strip()
        pages.append(f"## {' '.join(verb)}\n\n```text\n{shown}\n```\n")
    return "\n".join(pages)


def _name(command: CommandInfo) -> str:
    assert command.callback is not None
    return command.name or command.callback.__name__.replace("_", "-")


def settings() -> str:
    """Every section of a run's settings: keys, what they may be, defaults, meaning."""
    from sklar.models import MODELS
    from sklar.training.config import RunConfig

    seen: dict[type[BaseModel], str] = {}
    for name, annotation in RunConfig.model_fields.items():
        for section in _sections(annotation.annotation):
            tag = section.model_fields["name"].default if name == "model" else ""
            _walk(section, f"{name}, {tag}" if tag else name, seen)
    assert {*MODELS} <= {place.removeprefix("model, ") for place in seen.values()}
    pages = [_table(RunConfig, "The run")]
    pages += [_table(section, place) for section, place in sorted(seen.items(), key=lambda item: item[1])]
    return "\n".join(pages)


def _walk(section: type[BaseModel], place: str, seen: dict[type[BaseModel], str]) -> None:
    """Note where a section and those within it are; one that several models share has no model's name."""
    if section in seen:
        return
    seen[section] = place
    for name, field in section.model_fields.items():
        for inner in _sections(field.annotation):
            kinds = get_args(inner.model_fields["kind"].annotation) if "kind" in inner.model_fields else ()
            tag = f", {' or '.join(kinds)}" if kinds else ""
            shared = "model" if place.startswith("model") else place
            if section.__name__ == "EncoderConfig":
                shared = "model.encoders"
            _walk(inner, f"{shared}.{name}{tag}", seen)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from _sections(part)


def _table(section: type[BaseModel], title: str) -> str:
    meanings = _meanings(section)
    lines = [
        f"## {title}",
        "",
        _first_line(section),
        "",
        "| key | values | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in section.model_fields.items():
        inner = list(_sections(field.annotation))
        default = (
            field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
        )
        shown = "required" if default is PydanticUndefined else "" if inner else f"`{_plain(default)}`"
        values = "a section" if inner else _values(field.annotation, field.metadata)
        lines.append(f"| `{name}` | {values} | {shown} | {_cell(meanings.get(name, ''))} |")
    return "\n".join([*lines, ""])


def _plain(default: Any) -> str:
    return "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def _values(annotation: Any, metadata: list[Any]) -> str:
    """The type in a few words, and the bounds that it must keep."""
    bounds = [
        f"{sign} {getattr(rule, key)}"
        for rule in metadata
        for key, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("min_length", "length ≥"))
        if getattr(rule, key, None) is not None
    ]
    return ", ".join([_type(annotation), *bounds])


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin is Annotated:
        return _values(parts[0], [rule for part in parts[1:] for rule in getattr(part, "metadata", [part])])
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in parts)
    return "null" if annotation is NoneType else str(annotation) if parts else annotation.__name__


def _first_line(section: type) -> str:
    return _cell((inspect.getdoc(section) or "").split("\n\n")[0])


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    """What is said of each key: in the class's Attributes, or under the key."""
    found = {}
    for base in reversed(section.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _listed(inspect.getdoc(base) or "", "Attributes:")
            comments = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            found |= {
                name: " ".join(text) for (kind, name), text in comments.items() if kind == base.__name__
            }
    if section.__name__ == "AlignmentConfig":
        from sklar.alignment import CopulaAlignment

        found = _listed(inspect.getdoc(CopulaAlignment) or "", "Args:") | found
    return found


def _listed(doc: str, head: str) -> dict[str, str]:
    """The entries under a heading of a docstring."""
    _, _, rest = doc.partition(f"{head}\n")
    body = re.split(r"\n(?=\S)", rest)[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", body, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _cell(text: str) -> str:
    """Text for a cell of a table: one line, its names as code."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def names() -> str:
    """Every name of the package itself, and where it lives."""
    import sklar

    homes = [(name, getattr(sklar, name)) for name in sklar.__all__ if not name.startswith("_")]
    rows = [
        f"| {{py:obj}}`sklar.{name} <{home.__module__}.{home.__qualname__}>` | {_first_line(home)} |"
        for name, home in homes
    ]
    return "\n".join(["| name | what it is |", "|---|---|", *rows, ""])


def module(name: str) -> str:
    """What a module offers: classes and functions by autodoc, then the values that autodoc passes over."""
    found = importlib.import_module(name)
    told = ModuleAnalyzer.for_module(name).find_attr_docs()
    lines = ["```{eval-rst}", f".. automodule:: {name}", ""]
    for public in getattr(found, "__all__", ()):
        value = getattr(found, public)
        if (
            ("", public) in told
            or inspect.isfunction(inspect.unwrap(value))
            or inspect.isclass(value)
            or public.startswith("_")
        ):
            continue
        lines += [f".. py:data:: {public}", "", f"   {_meaning(name, public, value)}", ""]
    return "\n".join([*lines, "```"])


def _meaning(name: str, public: str, value: Any) -> str:
    """What is said of a value where it is defined, and what it holds."""
    parts = []
    for place in sorted(place for place in sys.modules if place.startswith(name)):
        said = ModuleAnalyzer.for_module(place).find_attr_docs().get(("", public))
        parts += [" ".join(said)] if said else []
    if isinstance(value, Mapping):
        parts.append("Keys: " + ", ".join(f"``{key}``" for key in value) + ".")
    elif get_args(value):
        parts.append(_type(value).replace("`", "``") + ".")
    elif isinstance(value, BaseModel) or type(value).__module__.startswith("sklar"):
        parts.append(
            f"A `{type(value).__module__}.{type(value).__qualname__}`: {inspect.getdoc(type(value))}"
        )
    else:
        parts.append(f"``{value!r}``")
    return " ".join(" ".join(parts).split("\n\n")[0].split())


PARTS: dict[str, Callable[..., str]] = {
    "commands": commands, "module": module, "names": names, "settings": settings
}  # fmt: skip


def fill(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Put what is generated where a page asks for it."""
    source[0] = _MARK.sub(lambda found: PARTS[found[1]](*found[2].split()), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Fill pages as they are read."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
