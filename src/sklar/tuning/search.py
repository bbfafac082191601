"""One study: workers that may come and go, each trial a run without test rows, the best one refitted."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklar import runs
from sklar.data.store import PreparedData
from sklar.errors import TrainingError, UserError
from sklar.training.config import RunConfig, content_hash, resolve
from sklar.training.files import write
from sklar.tuning.space import Choice, Space, space

if TYPE_CHECKING:
    import optuna

TRIALS = "trials.json"
JOURNAL = "study.journal"


@dataclass(frozen=True)
class Tuned:
    """A finished search.

    Attributes:
        settings: The best ones, by key.
        value: Their validation AUROC.
        trials: How many ended: complete, pruned and failed ones.
        run: The best run, refitted; None for a worker that does not refit.
    """

    settings: dict[str, Any]
    value: float
    trials: int
    run: runs.Run | None


def tune(
    model: str,
    data: PreparedData,
    out: Path,
    *,
    trials: int = 20,
    named: str = "default",
    storage: str | None = None,
    settings: Sequence[str] = (),
    seed: int = 0,
    refit: bool = True,
    **base: Any,
) -> Tuned:
    """Search the settings of a model by validation AUROC; test rows are read by the refitted run alone.

    Every model has the same number of trials. Run again with the same arguments, it goes on where it was; run
    several times at once, on one machine or many that share the storage, the processes share the trials.
    Trials that fall behind the median of the others at the same epoch are pruned.

    Args:
        model: Key of `sklar.models.MODELS` or `REFERENCES`.
        data: The prepared folder.
        out: Receives the study, its trials and ``best``, the refitted run.
        trials: Of all workers together.
        named: Key of `SPACES`.
        storage: The address of an SQL database, or a journal file; by default one in ``out``.
        settings: ``key=value`` that hold for every trial.
        seed: Of every trial, and of the search.
        refit: Train the best settings once more as a whole run. One of several workers should.
        base: Sections of the configuration, such as ``preset="paper"``.

    Raises:
        UserError: Optuna is missing, or the study at ``out`` is another one.
        TrainingError: No trial came to an end.
    """
    module = _optuna()
    searched = space(named, model)
    start = resolve(model, settings, seed=seed, **base)
    out.mkdir(parents=True, exist_ok=True)
    study = module.create_study(
        study_name=model,
        storage=_storage(storage or str(out / JOURNAL)),
        direction="maximize",
        load_if_exists=True,
        sampler=_sampler(searched, seed),
        pruner=module.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
    )
    _check_same(study, content_hash([start.model_dump(mode="json"), data.hash, named]), out)

    def objective(trial: "optuna.Trial") -> float:
        chosen = [f"{key}={json.dumps(_suggest(trial, key, item))}" for key, item in searched.items()]
        return _try(resolve(model, [*settings, *chosen], seed=seed, **base), data, out, trial)

    if (left := trials - len(_ended(study.trials))) > 0:
        states = module.trial.TrialState
        limit = module.study.MaxTrialsCallback(trials, (states.COMPLETE, states.PRUNED, states.FAIL))
        study.optimize(objective, n_trials=left, callbacks=[limit], catch=(TrainingError,))
    return _conclude(study, model, data, out, settings, seed, refit, base)


def _try(config: RunConfig, data: PreparedData, out: Path, trial: "optuna.Trial") -> float:
    folder = out / "trials" / f"{trial.number:05d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder / runs.CONFIG, config.to_yaml().encode())

    def watch(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise _optuna().TrialPruned

    try:
        return runs.validation_auroc(config, data, folder, watch)
    except TrainingError as error:
        trial.set_user_attr("error", str(error))
        raise
    finally:
        for path in folder.iterdir():  # the settings stay; weights of trials would fill a disk
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (runs.CONFIG, "history.csv"):
                path.unlink()


def _conclude(
    study: "optuna.Study",
    model: str,
    data: PreparedData,
    out: Path,
    settings: Sequence[str],
    seed: int,
    refit: bool,
    base: dict[str, Any],
) -> Tuned:
    ended = _ended(study.trials)
    listed = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "valid_auroc": trial.value,
            "settings": trial.params,
            "error": trial.user_attrs.get("error"),
        }
        for trial in ended
    ]
    write(out / TRIALS, (json.dumps(listed, indent=1) + "\n").encode())
    if not any(item["state"] == "complete" for item in listed):
        why = next((item["error"] for item in listed if item["error"]), "all were pruned")
        raise TrainingError(f"none of {len(listed)} trials came to an end; the first says: {why}")
    best = study.best_trial
    chosen = [f"{key}={json.dumps(value)}" for key, value in best.params.items()]
    run = None
    if refit:
        config = resolve(model, [*settings, *chosen], seed=seed, **base)
        run = runs.train(config, data, out / "best", resume=True)
    return Tuned(dict(best.params), study.best_value, len(ended), run)


def _ended(trials: Iterable["optuna.trial.FrozenTrial"]) -> list["optuna.trial.FrozenTrial"]:
    """Trials that are over; those of a killed worker never are, and others take their place."""
    return [trial for trial in trials if trial.state.is_finished()]


def _suggest(trial: "optuna.Trial", key: str, item: Any) -> Any:
    if isinstance(item, Choice):
        return trial.suggest_categorical(key, item.values)
    return trial.suggest_float(key, item.low, item.high, log=True)


def _sampler(searched: Space, seed: int) -> "optuna.samplers.BaseSampler":
    """A grid in random order where there are choices only, else Parzen estimators."""
    samplers = _optuna().samplers
    grid = {key: item.values for key, item in searched.items() if isinstance(item, Choice)}
    if len(grid) == len(searched):
        return samplers.GridSampler(grid, seed=seed)  # type: ignore[no-any-return]
    return samplers.TPESampler(seed=seed, multivariate=False)  # type: ignore[no-any-return]


def _storage(where: str) -> Any:
    if "://" in where:
        return where
    journal = _optuna().storages.journal
    path = Path(where)
    path.parent.mkdir(parents=True, exist_ok=True)
    return journal.JournalStorage(journal.JournalFileBackend(str(path)))


def _check_same(study: "optuna.Study", wanted: str, out: Path) -> None:
    found = study.user_attrs.get("configuration")
    if found is None:
        study.set_user_attr("configuration", wanted)
    elif found != wanted:
        raise UserError(
            f"{out} holds a search over other settings, data or another space: choose another --out, or "
            "remove it"
        )


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError("sklar tune needs Optuna: pip install 'sklar[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
