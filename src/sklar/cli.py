"""The command line. Nothing heavy is imported before a verb runs."""

import enum
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sklar._version import __version__
from sklar.errors import SklarError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sklar.data.store import PreparedData
    from sklar.report import Results

app = typer.Typer(
    help="Align and fuse modalities with copulas, and predict when some of them are missing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
prepare = typer.Typer(help="Write a prepared data folder.", no_args_is_help=True)
app.add_typer(prepare, name="prepare")


class Censoring(enum.StrEnum):
    """How rows that were not followed to the horizon count."""

    complete = "complete"
    ipcw = "ipcw"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Seed = Annotated[int, typer.Option(help="Seed of the split, the initialisation and the order.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting: training.max_epochs=3.")
]
Weighting = Annotated[
    Censoring, typer.Option(help="complete: every row counts once; ipcw: inverse probability of censoring.")
]
Folder = Annotated[Path, typer.Option("--data", help="A prepared folder.")]
Runs = Annotated[list[Path], typer.Argument(help="Run folders, tested on the same rows.")]
Reference = Annotated[str, typer.Option(help="The model that the others are compared with.")]
Resamples = Annotated[int, typer.Option(min=10, help="Bootstrap resamples.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print it.")] = False) -> None:
    if version:
        _show(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where data, runs and report go.")] = Path("runs/demo"),
    seed: Seed = 0,
    censoring: Weighting = Censoring.complete,
    settings: Settings = None,
    subsample: Annotated[int | None, typer.Option(min=200, help="Use about this many subjects.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train CM² and what it is compared with on a real cohort, and write a report (about two minutes)."""
    _note("importing torch and friends ...")
    from sklar.experiments import nafld

    done = nafld.compare(
        out,
        seed,
        settings=settings or (),
        censoring=censoring.value,
        subsample=subsample,
        progress=sys.stderr.isatty(),
        announce=_note,
    )
    _results(done.results, as_json, report=str(done.report), seconds=round(done.seconds, 1))
    if not as_json:
        _patients(done.runs["cm2"])
        _show(f"report: {done.report}   ({done.seconds:.0f} s)")


@prepare.command("nafld")
def prepare_nafld(
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the split by matched set.")] = 0,
    subsample: Annotated[int | None, typer.Option(min=200, help="Use about this many subjects.")] = None,
    as_json: AsJson = False,
) -> None:
    """Death within five years of a NAFLD index date: laboratory series, diagnoses, demographics."""
    from sklar.data.nafld import prepare_nafld as write

    data = write(out, seed=seed, subsample=subsample)
    _prepared(data, out, as_json)


def _prepare_mimic(
    context: typer.Context,
    raw: Annotated[str, typer.Option(help="Folder of the raw tables, or the address of a database.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    rules: Annotated[str, typer.Option(help="compat (the published benchmark) or strict.")] = "compat",
    rule: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="As na_none=pandas1.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="ihm, readm; the first is learned.")] = None,
    engine: Annotated[str, typer.Option(help="duckdb, postgres or spark.")] = "duckdb",
    test_list: Annotated[Path | None, typer.Option(help="Published list of test patients.")] = None,
    valid_list: Annotated[Path | None, typer.Option(help="Published list of validation patients.")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="Of the embedded engine, such as 4GB.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the embedded engine.")] = None,
    restricted: Annotated[
        bool | None, typer.Option("--restricted/--open", help="Whose data; by default only demos are open.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read, and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Raw tables to 17 variables in 24 bins over the first 48 hours, with outcomes and splits."""
    from sklar import mimic

    source = context.info_name or ""
    if dry_run:
        readings = mimic.plan(source, raw, engine)
        if as_json:
            _json({"tables": [vars(reading) for reading in readings]})
        for reading in () if as_json else readings:
            size = "" if reading.bytes is None else f"{reading.bytes / 1e6:,.1f} MB"
            _show(f"{reading.table:<16} {size:>12}  {reading.where}: {', '.join(reading.columns)}")
        return
    with _progress() as progress:
        data = mimic.prepare(
            source, raw, out, task or ("ihm", "readm"), mimic.resolve(rules, rule or ()), engine,
            test_list=test_list, valid_list=valid_list, memory_limit=memory_limit, threads=threads,
            restricted=restricted, progress=progress,
        )  # fmt: skip
    _prepared(data, out, as_json)


for _source in ("mimic-iii", "mimic-iv"):
    prepare.command(_source)(_prepare_mimic)


@app.command()
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
        _json({"data": str(data), "findings": [vars(finding) for finding in findings]})
    for finding in () if as_json else findings:
        mark = {"ok": "ok", "note": "--", "failed": "!!"}[finding.state]
        _show(f"{mark} {finding.topic}: {finding.detail}")
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(3)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    rows: Annotated[int | None, typer.Option(help="Number of rows (4000).")] = None,
    modalities: Annotated[str | None, typer.Option(help="series,text,table; or labs=series,...")] = None,
    family: Annotated[str | None, typer.Option(help="Copula family of the latents (gaussian).")] = None,
    tau: Annotated[float | None, typer.Option(help="Kendall's tau between modalities (0.5).")] = None,
    missing: Annotated[str | None, typer.Option(help="Rate of absence: 0.5, or text=0.4,...")] = None,
    missing_test: Annotated[str | None, typer.Option(help="The same in the test split.")] = None,
    mechanism: Annotated[str | None, typer.Option(help="mcar, mar or mnar.")] = None,
    label: Annotated[str | None, typer.Option(help="all, both, missing, a name, or text=2,...")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Write data with a chosen dependence and a known best prediction; --set rank=4, slope=-1 and more."""
    from sklar.data.simulate import scenario_of, write_simulation

    named = {"rows": rows, "modalities": modalities, "family": family, "tau": tau, "missing": missing}
    named |= {"missing_test": missing_test, "mechanism": mechanism, "label": label, "seed": seed}
    with _progress() as progress:
        data, done = write_simulation(out, scenario_of(named, settings or ()), progress)
    references = done.truth.references()
    _prepared(data, out, as_json, auroc=references)
    for name, by_rows in () if as_json else references.items():
        _show(f"{name:<9} test AUROC " + "   ".join(f"{where} {v:.4f}" for where, v in by_rows.items()))


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="cm2, medfuse, unified, late, single, gradient_boosting, ...")],
    data: Folder,
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    seed: Seed = 0,
    censoring: Weighting = Censoring.complete,
    preset: Annotated[
        str, typer.Option(help="Where settings start from: default, paper or released (cm2).")
    ] = "default",
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from an interrupted run.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved settings and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train one model on a prepared folder."""
    from sklar import runs
    from sklar.data.store import PreparedData
    from sklar.training.config import resolve

    weighting = {"censoring": censoring.value}
    config = resolve(model, settings or (), seed=seed, preset=preset, training=weighting)
    if print_config:
        _show(config.to_yaml().rstrip())
        return
    done = runs.train(config, PreparedData.open(data), out, resume=resume, progress=sys.stderr.isatty())
    if as_json:
        _json({"run": str(out), **done.metrics})
    else:
        _show(f"validation AUROC {done.metrics['validation']['valid_auroc']:.4f}   run: {out}")
        _alignment(done.metrics)


@app.command()
def evaluate(
    runs: Runs,
    reference: Reference = "",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    as_json: AsJson = False,
) -> None:
    """Judge the test predictions of finished runs: intervals, and paired differences to a reference."""
    from sklar import report

    _results(report.compare_runs(runs, reference or _first(runs), resamples, censoring.value), as_json)


@app.command("report")
def write_report(
    runs: Runs,
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML file to write.")] = Path("report.html"),
    reference: Reference = "",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about finished runs."""
    from sklar import report

    results = report.write(runs, out, reference or _first(runs), resamples, censoring.value)
    _results(results, as_json, report=str(out))
    if not as_json:
        _show(f"report: {out}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    data: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The Parquet file to write.")],
    split: Annotated[str | None, typer.Option(help="train, valid or test; all rows by default.")] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Draws of the missing latents.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the rows of a prepared folder: probability, imputation interval, what was observed."""
    from sklar import runs
    from sklar.data.store import PreparedData

    started = time.monotonic()
    predictions = runs.Run.open(run).predict(PreparedData.open(data), split, draws)
    runs.write_predictions(out, predictions)
    rows, imputed = len(predictions.ids), int((~predictions.present.all(1)).sum())
    if as_json:
        _json(
            {
                "out": str(out),
                "rows": rows,
                "with_imputation": imputed,
                "seconds": round(time.monotonic() - started, 2),
            }
        )
    else:
        _show(f"{rows:,} rows, {imputed:,} of them with a modality imputed: {out}")


@app.command()
def doctor(
    data: Annotated[Path | None, typer.Option(help="Also check a prepared folder, hashes included.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check the installation: one line per check, one remedy per failure."""
    from sklar.doctor import examine

    checks = examine(data)
    failed = [check for check in checks if check.state == "broken"]
    if as_json:
        _json({"checks": [vars(check) for check in checks], "broken": len(failed)})
    else:
        for check in checks:
            mark = {"ok": "ok", "absent": "--", "broken": "!!"}[check.state]
            _show(f"{mark} {check.name}: {check.detail}" + (f" -> {check.remedy}" if check.remedy else ""))
    if failed:
        raise typer.Exit(2)


def main() -> None:
    """Run the command line; errors that sklar raises on purpose end in one line and their exit code."""
    try:
        app()
    except SklarError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def _prepared(data: "PreparedData", out: Path, as_json: bool, **extra: Any) -> None:
    counts = {name: (c.subjects, c.events) for name, c in data.manifest.counts.items()}
    if as_json:
        about = {"data": str(out), "hash": data.hash, "counts": counts, "presence": data.manifest.presence}
        _json(about | extra)
        return
    for name, (subjects, events) in counts.items():
        _show(f"{name:<6} {subjects:>7,} subjects {events:>6,} events")
    for name, share in data.manifest.presence.items():
        _show(f"{name} is present in {share:.1%}")
    _show(f"prepared: {out}")


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error, for what reports a stage and the fraction done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)


def _first(folders: Sequence[Path]) -> str:
    """The name that the first run has in a table: the model's, or the modality's of a single one."""
    from sklar.report import read_run

    return read_run(folders[0]).name


def _results(results: "Results", as_json: bool, **extra: Any) -> None:
    from sklar import report

    if as_json:
        _json({**report.as_dict(results), **extra})
    else:
        _print(report.console_table(results))


def _alignment(metrics: dict[str, Any]) -> None:
    if alignment := metrics.get("alignment"):
        _show(
            "log copula density per coordinate on validation rows: "
            f"true pairs {alignment['log_density_true']:+.4f}, "
            f"shuffled pairs {alignment['log_density_shuffled']:+.4f}; "
            f"Kendall's tau {alignment['kendall_tau_imputation']:.3f}"
        )


def _patients(run: Path) -> None:
    from sklar import report
    from sklar.runs import Run

    opened = Run.open(run)
    _alignment(opened.metrics)
    if not opened.data["restricted"]:
        _print(report.patients_table(opened.predictions("test")))


def _print(what: "RenderableType") -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 150).print(what)


def _show(text: str) -> None:
    typer.echo(text)


def _note(text: str) -> None:
    typer.echo(text, err=True)


def _json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content))
