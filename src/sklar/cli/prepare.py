"""`sklar prepare`."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Long, OnLate, OnUndated, Undated, beside
from sklar.cli.output import progress_bar, show, show_json, show_prepared

app = typer.Typer(help="Write a prepared data folder.", no_args_is_help=True)


@app.command("nafld")
def prepare_nafld(
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the split by matched set.")] = 0,
    subsample: Annotated[int | None, typer.Option(min=200, help="Use about this many subjects.")] = None,
    as_json: AsJson = False,
) -> None:
    """Death within five years of a NAFLD index date: laboratory series, diagnoses, demographics."""
    from sklar.data.nafld import prepare_nafld as write

    data = write(out, seed=seed, subsample=subsample)
    show_prepared(data, out, as_json)


class MissingFile(enum.StrEnum):
    """What a path without a file is."""

    error = "error"
    missing = "missing"


@app.command("table")
def prepare_table(
    data: Annotated[Path, typer.Argument(help="A Parquet or CSV file with one row per subject.")],
    schema: Annotated[Path, typer.Option(help="A YAML file that says what its columns are.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    long: Long = None,
    split: Annotated[
        str | None, typer.Option(help="Column that says train, valid or test; by default groups are drawn.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of a drawn split.")] = 0,
    weight: Annotated[str | None, typer.Option(help="Column with sampling weights.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the data set, for reports; by default the file's.")
    ] = None,
    on_late: Annotated[
        OnLate, typer.Option(help="Records after the moment of prediction: an error, or dropped and counted.")
    ] = OnLate.error,
    on_undated: OnUndated = Undated.error,
    on_missing_file: Annotated[
        MissingFile, typer.Option(help="Paths without a file: an error, or a missing modality.")
    ] = MissingFile.error,
    restricted: Annotated[
        bool, typer.Option("--restricted/--open", help="Whether reports may show no row of these data.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Your own table: series as nested lists or files, images as paths or bytes, texts, columns."""
    from sklar.data.schema_file import read_schema
    from sklar.data.wide import write_wide

    with progress_bar() as progress:
        done = write_wide(
            out, read_schema(schema), data, long=beside(long), on_late=on_late.value,
            on_undated=on_undated.value, on_missing_file=on_missing_file.value, split=split, seed=seed,
            weight=weight, name=name or data.stem, restricted=restricted, progress=progress,
        )  # fmt: skip
    show_prepared(done, out, as_json)


@app.command("meds")
def prepare_meds(
    root: Annotated[Path, typer.Argument(help="Folder of a MEDS data set, which holds data/**/*.parquet.")],
    labels: Annotated[
        Path, typer.Option(help="Parquet file of labels: subject_id, prediction_time, a value.")
    ],
    schema: Annotated[Path, typer.Option(help="A YAML file that says which codes are which modality.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the split, where the data set has none.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Of the data set, for reports; by default the folder's.")
    ] = None,
    restricted: Annotated[
        bool, typer.Option("--restricted/--open", help="Whether reports may show no row of these data.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """The Medical Event Data Standard: codes as series, texts and columns, up to each prediction time."""
    from sklar.data.meds import SPLIT, read_meds
    from sklar.data.schema_file import read_schema
    from sklar.data.wide import write_wide

    wanted = read_schema(schema)
    read = read_meds(root, labels, wanted)
    split = SPLIT if SPLIT in read.table.column_names else None
    with progress_bar() as progress:
        done = write_wide(
            out, wanted, read.table, long=read.long, split=split, seed=seed, name=name or root.name,
            restricted=restricted, progress=progress,
        )  # fmt: skip
    show_prepared(done, out, as_json)


def prepare_mimic(
    context: typer.Context,
    raw: Annotated[str, typer.Option(help="Folder of the raw tables, or the address of a database.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    rules: Annotated[str, typer.Option(help="compat (the published benchmark) or strict.")] = "compat",
    rule: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="As na_none=pandas1.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="ihm, readm; the first is learned.")] = None,
    engine: Annotated[str, typer.Option(help="duckdb, postgres or spark.")] = "duckdb",
    cxr: Annotated[
        Path | None,
        typer.Option(help="mimic-iv: folder of MIMIC-CXR-JPG; the last bedside picture is added."),
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="With --cxr: folder or archive of MIMIC-CXR's reports, added as text.")
    ] = None,
    image_size: Annotated[
        int, typer.Option(help="Side of the square of a picture that models see, in pixels.")
    ] = 224,
    notes: Annotated[bool, typer.Option("--notes", help="mimic-iii: add the last notes of a stay.")] = False,
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
        readings = mimic.plan(source, raw, engine, cxr=cxr, reports=reports, notes=notes)
        if as_json:
            show_json({"tables": [vars(reading) for reading in readings]})
        for reading in () if as_json else readings:
            size = "" if reading.bytes is None else f"{reading.bytes / 1e6:,.1f} MB"
            show(f"{reading.table:<16} {size:>12}  {reading.where}: {', '.join(reading.columns)}")
        return
    with progress_bar() as progress:
        data = mimic.prepare(
            source, raw, out, task or ("ihm", "readm"), mimic.resolve(rules, rule or ()), engine,
            cxr=cxr, reports=reports, image_size=image_size, notes=notes,
            test_list=test_list, valid_list=valid_list,
            memory_limit=memory_limit, threads=threads, restricted=restricted, progress=progress,
        )  # fmt: skip
    show_prepared(data, out, as_json)


for _source in ("mimic-iii", "mimic-iv"):
    app.command(_source)(prepare_mimic)
