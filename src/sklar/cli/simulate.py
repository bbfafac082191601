"""`sklar simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Settings
from sklar.cli.output import progress_bar, show, show_json, show_prepared

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


@app.command("hospital")
def simulate_hospital(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    stays: Annotated[int, typer.Option(help="ICU stays of the cohort; edge cases come on top.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    edge_cases: Annotated[
        bool, typer.Option("--edge-cases", help="Add what real tables hold now and then.")
    ] = False,
    family: Annotated[str, typer.Option(help="Copula family of the severities.")] = "gaussian",
    tau: Annotated[float, typer.Option(help="Kendall's tau between severities.")] = 0.4,
    missing: Annotated[float, typer.Option(help="Rate of absence of images, and of texts.")] = 0.4,
    mechanism: Annotated[str, typer.Option(help="mcar, mar or mnar.")] = "mcar",
    prevalence: Annotated[float, typer.Option(help="Share of stays that end in death.")] = 0.25,
    chart_rows: Annotated[
        int, typer.Option(help="Rows of CHARTEVENTS per stay, filled up with items of no variable.")
    ] = 0,
    image_size: Annotated[int, typer.Option(help="Height of an image in pixels.")] = 128,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write Parquet instead of csv.gz.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write raw MIMIC-III and MIMIC-IV tables, chest images, reports and notes of patients who never were."""
    from sklar.mimic.hospital import HospitalPlan, write_hospital

    plan = HospitalPlan(
        stays=stays, seed=seed, edge_cases=edge_cases, family=family, tau=tau, missing=missing,
        mechanism=mechanism,  # type: ignore[arg-type]
        prevalence=prevalence, chart_rows=chart_rows, image_size=image_size,
        form="parquet" if parquet else "csv.gz",
    )  # fmt: skip
    with progress_bar() as progress:
        summary = write_hospital(out, plan, progress).summary()
    if as_json:
        show_json({"out": str(out), **summary})
        return
    best = summary["auroc"]
    alone = ", ".join(f"{name} {value:.3f}" for name, value in best["alone"].items())
    show(f"best AUROC: all severities {best['complete']:.3f}; one alone: {alone}")
    for source, about in summary["sources"].items():
        shares = ", ".join(f"{name} {share:.0%}" for name, share in about["presence"].items())
        show(
            f"{source:<10} {about['compat']['stays']:,} stays in the cohort, {about['compat']['deaths']:,} "
            f"deaths; present: {shares}; best AUROC with what is present {about['auroc']['bayes']:.3f}"
        )
    show(f"raw tables, images and texts: {out}")
