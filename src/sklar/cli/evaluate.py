"""`sklar evaluate`, `compare`, `card` and `report`: what is read from finished runs."""

import enum
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sklar.cli.options import AsJson, Censoring, Reference, Resamples, Runs, Weighting
from sklar.cli.output import first_name, note, progress_bar, show, show_json, show_results, show_rich

if TYPE_CHECKING:
    from sklar.report import TextTable
    from sklar.stress import Stress


class Format(enum.StrEnum):
    """How a table is written."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


Style = Annotated[Format, typer.Option("--format", help="Of the table.")]
ShareSafe = Annotated[
    bool, typer.Option("--share-safe", help="Name no row, and withhold cells of fewer than 20 rows.")
]


By = Annotated[
    str | None,
    typer.Option(help="Columns of tables that tell subgroups apart, with commas; by default all categories."),
]


def evaluate(
    runs: Runs,
    reference: Reference = "",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    thresholds: Annotated[
        str, typer.Option(help="Predicted risks to act on, with commas.")
    ] = "0.05,0.1,0.2,0.3,0.5",
    data: Annotated[
        Path | None, typer.Option("--data", help="Also hide modalities of this folder's test rows.")
    ] = None,
    style: Style = Format.text,
    by: By = None,
    share_safe: ShareSafe = False,
    as_json: AsJson = False,
) -> None:
    """Judge the test predictions of finished runs: intervals, calibration, thresholds, subgroups."""
    from sklar import report

    cuts = _numbers(thresholds)
    results = report.compare_runs(runs, reference or first_name(runs), resamples, censoring.value)
    found = report.detail_runs(runs, resamples, censoring.value, cuts, share_safe)
    divided = report.subgroup_runs(runs, _names(by), resamples, censoring.value, share_safe)
    stressed = {} if data is None else _stress(runs, data, resamples, censoring, _names(by))
    if as_json:
        content = report.as_dict(results)
        if share_safe:
            content = report.withhold(content, next(d for d in found if d.model == results.reference))
        content["details"] = {detail.model: report.detail_dict(detail) for detail in found}
        content["subgroups"] = {name: report.subgroup_dict(own) for name, own in divided.items()}
        content["stress"] = {name: report.stress_dict(own) for name, own in stressed.items()} or None
        show_json(content)
        return
    if style is Format.text:
        show_results(results, as_json=False)
    tables = [report.calibration_table(found), *map(report.threshold_table, found)]
    tables += [report.pattern_table(detail) for detail in found if detail.model == results.reference]
    tables += [
        report.subgroup_table(name, own) for name, own in divided.items() if own and name == results.reference
    ]
    for name, own in stressed.items():
        tables += report.stress_tables(name, own)
    for table in tables:
        _table(table, style)


def compare(
    runs: Runs,
    metrics: Annotated[str, typer.Option(help="Names with commas.")] = "auroc,average_precision,brier",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    paper_t_test: Annotated[
        bool, typer.Option("--paper-t-test", help="Also the paper's test of replicates, which is invalid.")
    ] = False,
    style: Style = Format.text,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the table to a file.")] = None,
    share_safe: ShareSafe = False,
    as_json: AsJson = False,
) -> None:
    """Set every run against the best: paired intervals, DeLong's test, adjusted by Holm's method."""
    from sklar import report

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        result = report.contest_runs(runs, names, resamples, censoring.value, paper_t_test)
    for message in {str(warning.message) for warning in told}:
        note(f"warning: {message}")
    least = report.SMALLEST if share_safe else 0
    table = report.contest_table(result, least)
    if out is not None:
        report.write_text(out, report.FORMATS["markdown" if style is Format.text else style.value](table))
    if as_json:
        show_json(report.contest_dict(result, least) | {"out": None if out is None else str(out)})
    elif out is None:
        _table(table, style)
    else:
        show(f"table: {out}")


def card(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="By default RUN/model_card.md.")] = None,
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    as_json: AsJson = False,
) -> None:
    """Write a model card: intended use, results, limits, and what of TRIPOD+AI is still open."""
    from sklar import report

    path = out or run / "model_card.md"
    made = report.write_card(run, path, resamples, censoring.value)
    if as_json:
        show_json({"card": str(path), "ticked": list(made.ticked), "unticked": list(made.unticked)})
        return
    show(f"card: {path}")
    for item in made.unticked:
        show(f"open: {item}. {report.TRIPOD[item]}")


def write_report(
    runs: Runs,
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML file to write.")] = Path("report.html"),
    reference: Reference = "",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    by: By = None,
    share_safe: ShareSafe = False,
    show_examples: Annotated[
        bool, typer.Option("--show-examples", help="Show a few rows although the data are restricted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about finished runs."""
    from sklar import report

    results = report.write(
        runs,
        out,
        reference or first_name(runs),
        resamples,
        censoring.value,
        share_safe=share_safe,
        show_examples=show_examples,
        by=_names(by),
    )
    show_results(results, as_json, report=str(out))
    if not as_json:
        show(f"report: {out}")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[float]:
    from sklar.errors import UserError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--thresholds takes numbers with commas, such as 0.1,0.2; got {text!r}") from error


def _stress(
    runs: list[Path], data: Path, resamples: int, censoring: Censoring, by: list[str] | None
) -> dict[str, "Stress"]:
    from sklar.data.store import PreparedData
    from sklar.runs import Run
    from sklar.stress import stress
    from sklar.training.reference import REFERENCES

    opened, found = PreparedData.open(data), {}
    for folder in runs:
        run = Run.open(folder)
        if run.config.model.name in REFERENCES:
            note(f"{folder} keeps no model, so nothing can be hidden from it")
            continue
        with progress_bar() as progress:
            found[first_name([folder])] = stress(
                run,
                opened,
                resamples=resamples,
                weighted=censoring is Censoring.ipcw,
                progress=progress,
                by=by,
            )
    return found


def _table(table: "TextTable", style: Format) -> None:
    from sklar import report

    if style is Format.text:
        show_rich(report.rich_table(table))
    else:
        show(report.FORMATS[style.value](table))
