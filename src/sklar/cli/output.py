"""What the verbs say: sentences, tables, progress, and one JSON object as the last line."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sklar.data.store import PreparedData
    from sklar.report import Results


def show_prepared(data: "PreparedData", out: Path, as_json: bool, **extra: Any) -> None:
    """Counts of a prepared folder, as lines or as one object with what ``extra`` adds."""
    counts = data.manifest.counts
    if as_json:
        about: dict[str, Any] = {"data": str(out), "hash": data.hash}
        about["counts"] = {name: (own.subjects, own.events) for name, own in counts.items()}
        if outputs := {name: own.as_dict()["outputs"] for name, own in counts.items() if own.outputs}:
            about["outputs"] = outputs
        show_json(about | {"presence": data.manifest.presence} | extra)
        return
    for name, own in counts.items():
        each = ", ".join(f"{output} {tally.events:,}" for output, tally in own.outputs.items())
        show(f"{name:<6} {own.subjects:>7,} subjects {each or f'{own.events:>6,} events'}")
    for name, share in data.manifest.presence.items():
        show(f"{name} is present in {share:.1%}")
    show(f"prepared: {out}")


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error, for what reports a stage and the fraction done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)


def first_name(folders: Sequence[Path]) -> str:
    """The name that the first run has in a table: the model's, or the modality's of a single one."""
    from sklar.report import read_run

    return read_run(folders[0]).name


def show_results(results: "Results", as_json: bool, **extra: Any) -> None:
    """The comparison of runs, as a table or as one object with what ``extra`` adds."""
    from sklar import report

    if as_json:
        show_json({**report.as_dict(results), **extra})
    else:
        show_rich(report.console_table(results))


def show_alignment(metrics: dict[str, Any]) -> None:
    """What a finished run says of its alignment; nothing for a model without one."""
    if alignment := metrics.get("alignment"):
        show(
            "log copula density per coordinate on validation rows: "
            f"true pairs {alignment['log_density_true']:+.4f}, "
            f"shuffled pairs {alignment['log_density_shuffled']:+.4f}; "
            f"Kendall's tau {alignment['kendall_tau_imputation']:.3f}"
        )


def show_patients(run: Path) -> None:
    """Example patients of a finished run, unless its data is restricted."""
    from sklar import report
    from sklar.runs import Run

    opened = Run.open(run)
    show_alignment(opened.metrics)
    if not opened.data["restricted"]:
        show_rich(report.patients_table(opened.predictions("test")))


def show_rich(what: "RenderableType") -> None:
    """A table or panel, as wide as the terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 150).print(what)


def show(text: str) -> None:
    """One line of the answer."""
    typer.echo(text)


def note(text: str) -> None:
    """One line that is no part of the answer, on standard error."""
    typer.echo(text, err=True)


def show_json(content: dict[str, Any]) -> None:
    """The answer as one JSON object on one line."""
    typer.echo(json.dumps(content))
