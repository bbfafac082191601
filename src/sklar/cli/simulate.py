"""`sklar simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Settings
from sklar.cli.output import progress_bar, show, show_prepared

app = typer.Typer(help="Write data whose truth is known.", no_args_is_help=True)


@app.command("scenario")
def simulate_scenario(
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
    with progress_bar() as progress:
        data, done = write_simulation(out, scenario_of(named, settings or ()), progress)
    references = done.truth.references()
    show_prepared(data, out, as_json, auroc=references)
    for name, by_rows in () if as_json else references.items():
        show(f"{name:<9} test AUROC " + "   ".join(f"{where} {v:.4f}" for where, v in by_rows.items()))
