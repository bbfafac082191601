"""A simulated hospital as a folder of raw tables, images and texts."""

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from sklar.errors import UserError
from sklar.mimic.hospital import cases, four, three
from sklar.mimic.hospital.cxr import write_cxr
from sklar.mimic.hospital.edge_rows import edge_rows
from sklar.mimic.hospital.events import measure
from sklar.mimic.hospital.files import Tables
from sklar.mimic.hospital.notes import notes_table
from sklar.mimic.hospital.plan import HospitalPlan
from sklar.mimic.hospital.severity import CHART, HISTORY, IMAGES, TEXTS, draw, stream
from sklar.mimic.hospital.spelling import Numbers, Rows, numbers_of, spell
from sklar.mimic.hospital.stays import Stays, admit
from sklar.mimic.hospital.studies import draw_studies
from sklar.mimic.hospital.truth import Truth, plan_of
from sklar.mimic.layout import Source
from sklar.mimic.synthetic import write_mark

Progress = Callable[[str, float], None]

FIRST_VERSION = "mimic-iv-1.0"
"""Folder of the same MIMIC-IV in the layout of its first version."""

IMAGE_FOLDER = "mimic-cxr"

BLOCK_ROWS = 400_000
"""Chart rows that are held at once, about."""

README = """# A simulated hospital

Drawn by `sklar simulate hospital`: no patient is behind any row, image or text.

- `mimic-iii/`, `mimic-iv/`: raw tables, for `sklar prepare mimic-iii` and `sklar prepare mimic-iv`
- `mimic-cxr/`: images and reports of the stays of `mimic-iv/`
- `truth.json`, `truth.parquet`: how ill every stay is, and the best that can be predicted
"""


def write_hospital(
    out: str | os.PathLike[str], plan: HospitalPlan, progress: Progress | None = None
) -> Truth:
    """Draw a hospital and write it; the folder appears when it is complete.

    When ``out`` holds the hospital of the very same plan already, it is left as it is. Every folder of
    tables is marked as synthetic, so that what is prepared from it is open.

    Args:
        out: Folder to make.
        plan: What to draw.
        progress: Called with a stage and the fraction done.

    Returns:
        The truth, which is also in ``truth.json`` and ``truth.parquet``.

    Raises:
        UserError: ``out`` holds something else.
    """
    target, say = Path(out), progress or (lambda _what, _done: None)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        if plan_of(target) == plan.as_dict():
            say("found the same hospital", 1.0)
            return simulate(plan)
        raise UserError(f"{target} exists and holds something else. Give another folder, or remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial-{secrets.token_hex(4)}"
    partial.mkdir()
    try:
        say("who is how ill", 0.0)
        truth = simulate(plan)
        _tables(partial, truth, lambda what, share: say(what, 0.05 + 0.65 * share))
        if "mimic-iv" in plan.sources:
            _images(partial / IMAGE_FOLDER, truth, lambda share: say("images", 0.7 + 0.25 * share))
        say("what is true", 0.95)
        truth.write(partial)
        (partial / "README.md").write_text(README, encoding="utf-8")
        for folder in sorted(path for path in partial.iterdir() if path.is_dir()):
            write_mark(folder, {"seed": plan.seed, "stays": plan.stays})
        if target.is_dir():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say("done", 1.0)
    return truth


def simulate(plan: HospitalPlan) -> Truth:
    """The stays of a hospital, and what is true of them, without any table."""
    case = np.zeros(plan.stays, dtype="<U32")
    begins, alive = np.zeros(plan.stays, dtype=bool), np.zeros(plan.stays, dtype=bool)
    if plan.edge_cases:
        own_case, own_begins, own_alive = cases.rows_of_cases()
        case = np.concatenate([case, own_case])
        begins, alive = np.concatenate([begins, own_begins]), np.concatenate([alive, own_alive])
    severity = draw(plan, len(case))
    drawn = severity.drawn | np.isin(case, list(cases.TEXTS))[:, None]
    drawn[case == cases.UNREADABLE, 1] = False
    severity = replace(severity, died=severity.died & ~alive, drawn=drawn)
    stays = admit(severity, case, begins)
    cases.apply(stays)
    numbers = {
        source: numbers_of(source, stays, stream(plan, HISTORY, 1 + index))
        for index, source in enumerate(plan.sources)
    }
    return Truth(severity, stays, numbers)


def _tables(folder: Path, truth: Truth, say: Progress) -> None:
    plan, stays = truth.severity.plan, truth.stays
    with ExitStack() as stack:
        places: list[tuple[Source, bool, Tables]] = []
        for source in plan.sources:
            places.append((source, False, stack.enter_context(Tables(folder / source, plan.form))))
            if plan.edge_cases and source == "mimic-iv":
                first = stack.enter_context(Tables(folder / FIRST_VERSION, plan.form))
                places.append((source, True, first))
        for source, first_version, tables in places:
            _persons(tables, stays, truth.numbers[source], source, first_version)
        size = max(16, BLOCK_ROWS // max(plan.chart_rows, 800))
        for block, start in enumerate(range(0, len(stays), size)):
            rows = slice(start, min(start + size, len(stays)))
            say("chart and laboratory", start / len(stays))
            _block(places, truth, rows, block)
        if plan.edge_cases:
            for source, first_version, tables in places:
                chart, lab = (edge_rows(stays, truth.numbers[source], source, p) for p in ("chart", "lab"))
                _events(tables, chart, lab, source, first_version)
        if "mimic-iii" in plan.sources:
            say("notes", 0.98)
            present = truth.severity.present("mimic-iii")[:, 2]
            notes = notes_table(
                stays, truth.numbers["mimic-iii"], present, truth.severity.latents[:, 2], stream(plan, TEXTS)
            )
            places[0][2].write("NOTEEVENTS", notes)


def _block(places: list[tuple[Source, bool, Tables]], truth: Truth, rows: slice, block: int) -> None:
    plan, stays = truth.severity.plan, truth.stays[rows]
    rng = stream(plan, CHART, block)
    events = measure(stays, truth.severity.latents[rows, 0], plan.chart_rows, rng)
    spelled: dict[Source, tuple[Rows, Rows]] = {}
    for source in plan.sources:
        numbers = truth.numbers[source][rows]
        system = stays.metavision if source == "mimic-iii" else np.ones(len(stays), dtype=bool)
        chart, lab = (spell(stays, numbers, events.of(place), system) for place in ("chart", "lab"))
        spelled[source] = chart, lab
    for source, first_version, tables in places:
        _events(tables, *spelled[source], source, first_version)


def _persons(tables: Tables, stays: Stays, numbers: Numbers, source: Source, first_version: bool) -> None:
    if source == "mimic-iii":
        three.write_persons(tables, stays, numbers)
        three.write_output(tables, stays, numbers)
    else:
        four.write_persons(tables, stays, numbers, first_version=first_version)
        four.write_output(tables, stays, numbers, first_version=first_version)


def _events(tables: Tables, chart: Rows, lab: Rows, source: Source, first_version: bool) -> None:
    if source == "mimic-iii":
        three.write_events(tables, chart, lab)
    else:
        four.write_events(tables, chart, lab, first_version=first_version)


def _images(folder: Path, truth: Truth, say: Callable[[float], None]) -> None:
    plan = truth.severity.plan
    rng = stream(plan, IMAGES)
    studies = draw_studies(truth.stays, truth.severity.present("mimic-iv"), truth.severity.latents, rng)
    write_cxr(folder, truth.stays, truth.numbers["mimic-iv"], studies, plan.image_size, rng, say)
