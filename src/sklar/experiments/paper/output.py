"""Experiments as files: Markdown, LaTeX, CSV and one page of HTML, each whole or not at all."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklar.experiments.paper.caveats import caveats
from sklar.experiments.paper.grid import Done
from sklar.experiments.paper.plan import Experiment, Rendered
from sklar.report import FORMATS
from sklar.report.compilation import Section, sections_page
from sklar.training.files import write


def write_all(
    rendered: Sequence[tuple[Experiment, Rendered]], done: Sequence[Done], banner: str, out: Path
) -> Path:
    """Write every experiment and the list of fits; the page, which shows all, comes last.

    Args:
        rendered: Experiments with their numbers.
        done: What became of the fits.
        banner: Which data they come from.
        out: Receives ``table-2.md``, ``.tex`` and ``.csv``, ``figure-2-gumbel.svg``, ``fits.csv`` and
            ``index.html``.

    Returns:
        The page.
    """
    out.mkdir(parents=True, exist_ok=True)
    for experiment, shown in rendered:
        stem = _stem(experiment)
        notes = (*shown.notes, *caveats(experiment.place))
        if shown.table is not None:
            write(out / f"{stem}.md", markdown(experiment, shown, banner).encode())
            lines = [f"% {line}" for line in (banner, *notes)]
            latex = "\n".join([*lines, FORMATS["latex"](shown.table)])
            write(out / f"{stem}.tex", latex.encode())
            records = [{**record, "data": banner} for record in shown.records]
            write(out / f"{stem}.csv", _csv(records))
        for name, figure in shown.figures.items():
            standalone = figure.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
            write(out / _drawing(experiment, name), standalone.encode())
    write(out / "fits.csv", _csv([_fit(one) for one in done]))
    page = out / "index.html"
    sections = [
        Section(f"{own.place}: {own.title}", shown.table, shown.figures, (*shown.notes, *caveats(own.place)))
        for own, shown in rendered
    ]
    write(page, sections_page("Tables and figures of the CM² paper", banner, sections).encode())
    return page


def markdown(experiment: Experiment, shown: Rendered, banner: str) -> str:
    """A table with its title, its data and what must be known about it."""
    table = "" if shown.table is None else FORMATS["markdown"](shown.table)
    notes = [f"- {note}" for note in (*shown.notes, *caveats(experiment.place))]
    pictures = [f"- picture: {_drawing(experiment, name)}" for name in shown.figures]
    title = f"## {experiment.place}: {experiment.title}"
    return "\n".join([title, "", f"**{banner}**", "", table, *pictures, *notes, ""])


def _stem(experiment: Experiment) -> str:
    return experiment.place.lower().replace(" ", "-")


def _drawing(experiment: Experiment, name: str) -> str:
    return f"{_stem(experiment)}-{name.lower()}.svg"


def _fit(done: Done) -> dict[str, Any]:
    job = done.job
    names = ("train_auroc", "tensors", "tensors_changed", "seconds")
    return {
        "fit": str(job.fit),
        "seed": job.seed,
        "folder": done.folder.name,
        **{name: done.checks.get(name) for name in names},
        "why": done.why,
    }


def _csv(records: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    if records:
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return text.getvalue().encode()
