"""Run the blocks of one page, in the folder it is started in.

    python page.py NAME PICTURES < blocks.json > results.json

`sklar` commands run in this process, which has imported everything once; others are started. What the page
leaves in a folder `shown` is kept beside the pictures.
"""

import ast
import contextlib
import io
import json
import shlex
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

SETTINGS = {"svg.fonttype": "path", "font.size": 9, "figure.facecolor": "white"}


def python(code: str, names: dict[str, Any], line: int) -> Any:
    """Run statements; the value of the last one, if it is an expression."""
    tree = ast.parse(code)
    ast.increment_lineno(tree, line - 1)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, names["__name__"], "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), names["__name__"], "eval"), names)  # type: ignore[attr-defined]


def command(line: str) -> str:
    """What a command prints on standard output.

    Raises:
        RuntimeError: It ended with an exit code other than 0.
    """
    words = shlex.split(line)
    if words[0] != "sklar":
        return subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
    from sklar.cli import app

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            app(words[1:], prog_name="sklar")
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(f"{line}: exit code {ended.code}") from ended
    return printed.getvalue()


def shell(code: str) -> str:
    """Commands, one a line or continued by a backslash, each followed by what it prints."""
    lines = code.replace("\\\n", "").splitlines()
    shown = code.rstrip().replace("\\\n", "\0").splitlines()
    parts = [
        f"$ {text.replace(chr(0), chr(92) + chr(10))}\n{command(line)}"
        for line, text in zip(lines, shown, strict=True)
    ]
    return "".join(parts).rstrip()


def draw(value: Any, name: str, folder: Path) -> str:
    """The file name of a drawn figure, or nothing where the value is none."""
    if type(value).__name__ != "Figure":
        return ""
    import matplotlib as mpl

    with mpl.rc_context(SETTINGS | {"svg.hashsalt": name}):
        value.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    return f"{name}.svg"


def main(page: str, pictures: Path) -> None:
    """Run what standard input lists, and print what came of it."""
    names: dict[str, Any] = {"__name__": page}
    results = []
    for number, block in enumerate(json.load(sys.stdin)):
        try:
            if block["kind"] == "shell":
                results.append({"printed": shell(block["code"]), "picture": ""})
                continue
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                value = python(block["code"], names, block["line"])
            picture = draw(value, f"{page}-{number}", pictures)
            shown = "" if value is None or picture else f"{value!r}\n"
            results.append({"printed": (printed.getvalue() + shown).rstrip(), "picture": picture})
        except BaseException:
            sys.exit(f"block at line {block['line']}\n{traceback.format_exc()}")
    for kept in Path().glob("shown/*"):
        shutil.copy(kept, pictures)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
