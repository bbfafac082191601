"""`sklar validate`."""

from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson
from sklar.cli.output import show, show_json


def validate(
    data: Annotated[Path, typer.Argument(help="A prepared folder.")],
    as_json: AsJson = False,
) -> None:
    """Check a prepared folder: hashes, patients per split, times, ranges, prevalence, published counts."""
    from sklar.data.audit import audit
    from sklar.data.store import PreparedData

    opened = PreparedData.open(data, verify=True)
    if str(opened.manifest.rules.get("source", "")).startswith("mimic"):
        from sklar.mimic import audit_mimic as audit
    findings = audit(opened)
    if as_json:
        show_json({"data": str(data), "findings": [vars(finding) for finding in findings]})
    for finding in () if as_json else findings:
        mark = {"ok": "ok", "note": "--", "failed": "!!"}[finding.state]
        show(f"{mark} {finding.topic}: {finding.detail}")
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(3)
