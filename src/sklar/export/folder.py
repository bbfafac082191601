"""The folder of an exported model: written whole and compared, and read back."""

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sklar.data.folder import PRIVATE
from sklar.data.schema import Schema
from sklar.encoders import WordPiece, without_weights
from sklar.errors import DataError, UserError
from sklar.export.check import ROWS, answers, difference, examples, graph_answers, masks
from sklar.export.contract import FORMAT, TOKENIZERS, contract, files
from sklar.export.formats import FORMATS, LIMITS, Source, check_formats
from sklar.export.graph import NOISE, Graph
from sklar.models import Ensemble, FusionModel, create
from sklar.runs import Run
from sklar.runs.folder import read_json, to_json
from sklar.runs.run import model_config
from sklar.training.config import RunConfig
from sklar.training.files import load_weights
from sklar.training.inputs import shapes, tokenizer_file

CONTRACT = "contract.json"
NEAR = 1e-4
"""The largest difference between the graph's fixed operations and the model's own adaptive ones."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: Where.
        rows: Made-up rows per mask that the files were compared on.
        masks: Combinations of present modalities.
        from_model: Largest difference of a probability between the graph and the trained model.
        differences: Per format, between the file as read back and the graph.
        sizes: Per format in bytes.
    """

    folder: Path
    rows: int
    masks: int
    from_model: float
    differences: Mapping[str, float]
    sizes: Mapping[str, int]


def export(
    run: Run, out: Path, formats: Sequence[str], progress: Callable[[str, float], None] | None = None
) -> Exported:
    """Write a run's model into a folder, and compare every file with the model.

    The folder appears under its name only when it is complete and every file answers as the model does.

    Args:
        run: A finished run.
        out: The folder to make.
        formats: Keys of `FORMATS`.
        progress: Called with what is being done and the fraction done.

    Raises:
        UserError: An unknown format, a missing extra, a folder that exists, or a model that has no graph:
            by its kind, or because the inverse of its copula family is found by iteration.
        DataError: What was written answers otherwise than the model.
    """
    say = progress or _silent
    wanted = list(dict.fromkeys(formats))
    check_formats(wanted)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists: choose another -o, or remove it")
    say("reading the run", 0.0)
    graph = graph_of(run)
    tensors = examples(graph, len(run.schema.modalities))
    own = graph_answers(graph, tensors)
    apart = difference(own, answers(run.model, graph.batch(tensors), tensors.get(NOISE)))
    _check(run, "the graph", apart, NEAR)
    source = Source(run.model, graph, tensors, own)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.partial-{secrets.token_hex(4)}"
    partial.mkdir(mode=PRIVATE if run.data["restricted"] else 0o777)
    try:
        differences = {}
        for place, name in enumerate(wanted):
            say(f"writing {name}", (place + 0.5) / (len(wanted) + 1))
            differences[name] = FORMATS[name](source, partial)
            _check(run, name, differences[name], LIMITS[name])
        for name in run.schema.texts:
            (partial / TOKENIZERS).mkdir(exist_ok=True)
            for path in tokenizer_file(run.path, name).parent.glob(f"{name}.*"):
                shutil.copy(path, partial / TOKENIZERS / path.name)
        content = contract(run, graph, own.shape[2])
        content["check"] = {"rows": ROWS, "masks": len(masks(len(run.schema.modalities)))}
        content["check"] |= {"from_model": apart, "differences": differences}
        content["files"] = files(partial)
        (partial / CONTRACT).write_bytes(to_json(content))
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say("done", 1.0)
    sizes = {name: (out / f"model.{name}").stat().st_size for name in wanted}
    return Exported(out, ROWS, content["check"]["masks"], apart, differences, sizes)


def graph_of(run: Run) -> Graph:
    """A run's model as one function of tensors.

    Raises:
        UserError: The model has none.
    """
    schema = run.schema
    length = model_config(run.config).encoders.text.length
    return Graph(
        run.model,
        shapes(schema, run.tokenizers),
        {name: (spec.documents, length) for name, spec in schema.texts.items()},
        {name: spec.steps for name, spec in (schema.series | schema.grids).items()},
    ).eval()


def load(folder: Path) -> FusionModel:
    """The model of an exported folder that has ``model.safetensors``, in evaluation mode.

    Raises:
        DataError: It is no such folder, damaged, or of a newer sklar.
    """
    content = read_json(folder / CONTRACT)
    if content.get("format") != FORMAT:
        raise DataError(f"{folder / CONTRACT} has format {content.get('format')}; this sklar reads {FORMAT}")
    config = RunConfig.model_validate(content["config"])
    trained = model_config(config)
    encoders = without_weights(trained.encoders)
    schema = Schema.model_validate(content["schema"])
    tokenizers = {name: WordPiece.load(folder / TOKENIZERS / f"{name}.json") for name in schema.texts}
    own = trained.model_copy(update={"encoders": encoders})
    inputs, outputs = shapes(schema, tokenizers), content["output"]["shape"][2]
    members = [create(inputs, own, outputs, content["task"]) for _ in range(config.training.ensemble)]
    model = members[0] if len(members) == 1 else Ensemble(members)
    load_weights(model, folder / "model.safetensors")
    return model.eval()


def _check(run: Run, what: str, found: float, limit: float) -> None:
    if not found <= limit:
        raise DataError(
            f"{run.path}: {what} answers otherwise than the model, by up to {found:.2g} where {limit:.0g} is "
            "allowed; nothing was kept. Export to another format, or say what model this is in a report"
        )


def _silent(_what: str, _done: float) -> None:
    return None
