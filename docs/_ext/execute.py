"""Pages that run: ``{run}`` blocks are Python, ``{shell}`` blocks are commands, and what they print is shown.

All blocks of a page run in order in one process of its own, in an empty folder, pages side by side, before
Sphinx reads anything. A block that fails stops the build with the page and the line.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

_LOG = logging.getLogger(__name__)
_BLOCK = re.compile(r"^```\{(run|shell)\}[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_OPTION = re.compile(r"^:[a-z-]+:.*\n", re.MULTILINE)
_WORKER = Path(__file__).with_name("page.py")


def blocks(text: str) -> list[dict[str, Any]]:
    """The kind, the code without options, and the first line of every block that runs."""
    return [
        {
            "kind": found[1],
            "code": _OPTION.sub("", found[2]).strip("\n") + "\n",
            "line": text.count("\n", 0, found.start()) + 2,
        }
        for found in _BLOCK.finditer(text)
    ]


def run(page: Path, pictures: Path) -> list[dict[str, str]]:
    """Run the blocks of a page, and return for each what it printed and the picture it drew, if any.

    Raises:
        ExtensionError: A block failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, str(_WORKER), page.stem, str(pictures)],
            input=json.dumps(blocks(page.read_text())),
            capture_output=True,
            text=True,
            cwd=folder,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "COLUMNS": "96", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"},
        )
    if done.returncode:
        raise ExtensionError(f"{page}: {done.stderr[-4000:]}")
    results: list[dict[str, str]] = json.loads(done.stdout)
    return results


def run_all(app: Sphinx) -> None:
    """Run every page that has blocks; the results wait in the environment until their page is read."""
    source = Path(app.srcdir)
    pictures = Path(app.outdir) / "_images"
    pictures.mkdir(parents=True, exist_ok=True)
    pages = [page for page in sorted(source.rglob("*.md")) if _BLOCK.search(page.read_text())]

    def timed(page: Path) -> list[dict[str, str]]:
        start = time.monotonic()
        results = run(page, pictures)
        _LOG.info("ran %s (%.0f s)", page.relative_to(source), time.monotonic() - start)
        return results

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(timed, pages))
    app.env.executed = {  # type: ignore[attr-defined]
        str(page.relative_to(source).with_suffix("")): result
        for page, result in zip(pages, results, strict=True)
    }


class Executed(SphinxDirective):
    """A block that ran: its code, what it printed, its picture."""

    has_content = True
    option_spec = {"alt": directives.unchanged, "hide-code": directives.flag}  # noqa: RUF012
    language: str

    def run(self) -> list[nodes.Node]:
        """The nodes of the block and of what came of it."""
        result = self.env.executed[self.env.docname][self.env.new_serialno("executed")]  # type: ignore[attr-defined]
        made: list[nodes.Node] = []
        if self.language == "python" and "hide-code" not in self.options:
            code = "\n".join(self.content)
            made.append(nodes.literal_block(code, code, language="python"))
        if result["printed"]:
            kind = {"language": "console" if self.language == "shell" else "text", "classes": ["printed"]}
            made.append(nodes.literal_block(result["printed"], result["printed"], **kind))
        if result["picture"]:
            if "alt" not in self.options:
                raise self.error("a picture needs :alt:, the text for those who do not see it")
            depth = "../" * self.env.docname.count("/")
            image = (
                f'<img src="{depth}_images/{result["picture"]}" alt="{self.options["alt"]}" class="drawn">'
            )
            made.append(nodes.raw(image, image, format="html"))
        return made


class Run(Executed):
    """Python."""

    language = "python"


class Shell(Executed):
    """Commands."""

    language = "shell"


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before reading, show while reading."""
    app.connect("env-before-read-docs", lambda app, _env, _names: run_all(app))
    app.add_directive("run", Run)
    app.add_directive("shell", Shell)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
