"""What the tests of several processes run as a script.

Arguments: a prepared folder, an output folder, and JSON {"model", "set", "rows"}: one optimiser step in
float64 on so many training rows, whose weights are written; without "rows" a whole run.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sklar import processes, runs
from sklar.data.loading import PreparedDataset, loader
from sklar.data.store import PreparedData
from sklar.models import create
from sklar.training.config import resolve
from sklar.training.fit import fit
from sklar.training.inputs import shapes, tokenise, train_tokenizers
from sklar.training.scale import joined
from sklar.types import Batch


class Double(PreparedDataset):
    """The same batches in float64."""

    def __getitems__(self, indices: Any) -> Batch:
        def double(t: torch.Tensor) -> torch.Tensor:
            return t.double() if t.is_floating_point() else t

        return super().__getitems__(indices)._map(double, lambda item: item._map(double))


def one_step(data: PreparedData, out: Path, asked: dict[str, Any]) -> None:
    config = resolve(asked["model"], asked["set"])
    out.mkdir(exist_ok=True)
    with joined(config.training):
        processes.led(lambda: bool(train_tokenizers(data, config.model.encoders, out)))
        tokenizers = train_tokenizers(data, config.model.encoders, out)
        documents = tokenise(data, tokenizers, config.model.encoders)
        share = (processes.rank(), processes.count())
        rows = data.rows("train")[: asked["rows"]]
        train = loader(Double(data, rows, documents), len(rows), shuffle=True, share=share)
        valid = loader(Double(data, "valid", documents), 512, share=share)
        torch.manual_seed(0)
        model = create(shapes(data.schema, tokenizers), config.model).double()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        fitted = fit(model, train, valid, config.training, out, 0)
        if processes.leads():
            after = {name: value.contiguous() for name, value in model.state_dict().items()}
            moved = [k for k, v in after.items() if not torch.equal(v, before[k])]
            save_file(after, out / "after.safetensors")
            (out / "history.json").write_text(json.dumps({"history": fitted.history, "moved": moved}))


def main() -> None:
    data, out, asked = PreparedData.open(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    if "rows" in asked:
        one_step(data, out, asked)
    else:
        runs.train(resolve(asked["model"], asked["set"]), data, out)


if __name__ == "__main__":
    main()
