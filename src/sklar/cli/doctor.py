"""`sklar doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson
from sklar.cli.output import show, show_json


def doctor(
    data: Annotated[Path | None, typer.Option(help="Also check a prepared folder, hashes included.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check the installation: one line per check, one remedy per failure."""
    from sklar.doctor import examine

    checks = examine(data)
    failed = [check for check in checks if check.state == "broken"]
    if as_json:
        show_json({"checks": [vars(check) for check in checks], "broken": len(failed)})
    else:
        for check in checks:
            mark = {"ok": "ok", "absent": "--", "broken": "!!"}[check.state]
            show(f"{mark} {check.name}: {check.detail}" + (f" -> {check.remedy}" if check.remedy else ""))
    if failed:
        raise typer.Exit(2)
