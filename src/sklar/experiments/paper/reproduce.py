"""From a choice of tables and figures to their files: the work behind `sklar reproduce`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sklar.data.store import PreparedData
from sklar.errors import UserError
from sklar.experiments.paper import EXPERIMENTS
from sklar.experiments.paper.caveats import banner
from sklar.experiments.paper.estimate import Ahead, ahead
from sklar.experiments.paper.grid import Done, jobs_of, run_all, unique
from sklar.experiments.paper.output import markdown, write_all
from sklar.experiments.paper.plan import Experiment, Fit, Outcomes, Rendered
from sklar.experiments.paper.scales import SCALES, ScaleName
from sklar.experiments.paper.tiny import simulated


@dataclass(frozen=True)
class Reproduced:
    """A finished reproduction.

    Attributes:
        experiments: With their numbers.
        done: What became of each fit.
        banner: Which data it ran on.
        page: The page that shows everything.
    """

    experiments: tuple[tuple[Experiment, Rendered], ...]
    done: tuple[Done, ...]
    banner: str
    page: Path

    @property
    def fitted(self) -> int:
        """Fits that were made by this call."""
        return sum(done.fitted for done in self.done)

    @property
    def failed(self) -> tuple[Done, ...]:
        """Fits that have no run."""
        return tuple(done for done in self.done if done.why)

    def text(self) -> str:
        """Every table as Markdown."""
        return "\n".join(markdown(own, shown, self.banner) for own, shown in self.experiments)


def chosen(tables: str | None, figures: str | None) -> list[Experiment]:
    """The experiments that lists of numbers name; without any, all.

    Raises:
        UserError: There is no such table or figure.
    """
    wanted = [
        f"{kind} {number.strip()}"
        for kind, numbers in (("Table", tables), ("Figure", figures))
        for number in (numbers or "").split(",")
        if number.strip()
    ]
    for place in wanted:
        if place not in EXPERIMENTS:
            raise UserError(f"no experiment {place!r}; there are {', '.join(EXPERIMENTS)}")
    return [own for place, own in EXPERIMENTS.items() if not wanted or place in wanted]


def foresee(
    experiments: Sequence[Experiment], out: Path, data: Path | None, seeds: int, scale: ScaleName,
    settings: Sequence[str] = (),
) -> Ahead:  # fmt: skip
    """How much work `reproduce` with the same arguments is; nothing is written.

    Raises:
        UserError: ``data`` lacks a folder that `reproduce` would read.
    """
    if data is not None:
        _refuse_absent(data, _cohorts(experiments))
    root = out / "data" if data is None and scale == "tiny" else data
    there = {} if root is None else {
        name: PreparedData.open(root / name)
        for name in _cohorts(experiments) if (root / name / "manifest.json").is_file()
    }  # fmt: skip
    return ahead(jobs_of(experiments, SCALES[scale], seeds, settings), there, out / "fits", scale == "tiny")


def reproduce(
    experiments: Sequence[Experiment], out: Path, data: Path | None, seeds: int, scale: ScaleName,
    settings: Sequence[str] = (),
    *,
    announce: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> Reproduced:  # fmt: skip
    """Fit what is not fitted yet, and write tables and figures.

    Args:
        experiments: Values of `sklar.experiments.paper.EXPERIMENTS`.
        out: Receives ``fits/`` and the tables; of the tiny scale also ``data/``.
        data: A folder with the prepared folders ``mimic-iii`` and ``mimic-iv``; None simulates them.
        seeds: Fits of each configuration, with seeds 0, 1, ...
        scale: Key of `SCALES`.
        settings: ``training.*=...`` or ``model.encoders.*=...`` for every fit alike.
        announce: Is told each step.
        progress: Show bars on standard error.

    Raises:
        UserError: There is no data, or a setting that some model does not have.
        InterruptedRunError: The user stopped it; the same call goes on.
    """
    size = SCALES[scale]
    jobs = jobs_of(experiments, size, seeds, settings)
    folders = _open(data, out, scale, _cohorts(experiments), announce)
    done = run_all(unique(jobs), folders, out / "fits", announce, progress)
    made = {own.job.identity: own for own in done}
    groups: dict[Fit, dict[int, Done]] = {}
    for job in jobs:
        groups.setdefault(job.fit, {})[job.seed] = made[job.identity]
    failures = {fit: own.why for fit, group in groups.items() for own in group.values() if own.why}
    runs = {
        fit: tuple(own.folder for own in group.values())
        for fit, group in groups.items()
        if fit not in failures
    }
    outcomes = Outcomes(runs, failures, folders, size.resamples)
    rendered = tuple((own, own.render(outcomes)) for own in experiments)
    said = banner(folders, scale)
    return Reproduced(rendered, tuple(done), said, write_all(rendered, done, said, out))


def _cohorts(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    return tuple(sorted({name for own in experiments for name in own.cohorts}))


def _open(
    data: Path | None, out: Path, scale: ScaleName, cohorts: Sequence[str], announce: Callable[[str], None]
) -> Mapping[str, PreparedData]:
    if data is None:
        if scale != "tiny":
            raise UserError(
                "the full scale needs --data, a folder with mimic-iii and mimic-iv as sklar prepare makes "
                "them; --scale tiny simulates both"
            )
        announce("simulate and prepare a hospital")
        every = simulated(out / "data")
        return {name: every[name] for name in cohorts}
    _refuse_absent(data, cohorts)
    return {name: PreparedData.open(data / name) for name in cohorts}


def _refuse_absent(data: Path, cohorts: Sequence[str]) -> None:
    for name in cohorts:
        if not (data / name).is_dir():
            raise UserError(
                f"{data} has no {name}: sklar prepare {name} --raw ... --out {data / name}, or leave out the "
                "tables that need it"
            )
