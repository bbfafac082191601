"""The command line: one file per verb. Nothing heavy is imported before a verb runs."""

import sys
from typing import Annotated

import typer

from sklar._version import __version__
from sklar.cli import (
    demo,
    doctor,
    evaluate,
    explain,
    export,
    predict,
    prepare,
    reproduce,
    serve,
    simulate,
    train,
    tune,
    validate,
    weights,
)
from sklar.cli.output import show
from sklar.errors import SklarError

app = typer.Typer(
    help="Align and fuse modalities with copulas, and predict when some of them are missing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print it.")] = False) -> None:
    if version:
        show(__version__)
        raise typer.Exit


app.command("demo")(demo.demo)
app.add_typer(prepare.app, name="prepare")
app.add_typer(simulate.app, name="simulate")
app.command("validate")(validate.validate)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(evaluate.compare)
app.command("card")(evaluate.card)
app.command("report")(evaluate.write_report)
app.command("reproduce")(reproduce.reproduce)
app.command("explain")(explain.explain)
app.command("predict")(predict.predict)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.add_typer(weights.app, name="weights")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line; errors that sklar raises on purpose end in one line and their exit code."""
    try:
        app()
    except SklarError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
