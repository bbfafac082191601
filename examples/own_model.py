"""The copula term in a plain PyTorch model; AUROC without the image, and the best that is possible."""

import torch
from torch import Tensor, nn

from sklar.alignment import CopulaAlignment, Standardise
from sklar.data.simulate import Scenario, simulate
from sklar.evaluation import auroc


def main(rows: int = 2500, epochs: int = 12) -> dict[str, float]:
    torch.manual_seed(0)
    data = simulate(Scenario(rows=rows, modalities=("image", "table"), tau=0.7, label="image"))
    x = {name: torch.tensor(part).float().flatten(1) / 100 for name, part in data.inputs.items()}
    present, y = torch.tensor(data.truth.present), torch.tensor(data.truth.labels).float()
    encoders = {m: nn.Sequential(nn.Linear(x[m].shape[1], 64), nn.ReLU(), nn.Linear(64, 4)) for m in x}
    scales, head = {m: Standardise(4) for m in x}, nn.Linear(8, 1)
    align = CopulaAlignment(dict.fromkeys(x, 4), family="gaussian", weight=0.3)  # the new part
    model = nn.ModuleList([*encoders.values(), *scales.values(), head, align])

    def forward(rows: Tensor, draws: int) -> tuple[Tensor, Tensor]:
        z = {m: scales[m](encoders[m](x[m][rows]), present[rows, i]) for i, m in enumerate(x)}
        full = align.impute(z, present[rows], draws=draws).latents  # (draws, rows, 4) of each, nothing absent
        return head(torch.cat([*full.values()], -1)).squeeze(-1), sum(align.loss(z, present[rows]).values())

    train, test = (torch.tensor(data.truth.rows(split)).nonzero().squeeze(1) for split in ("train", "test"))
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    for batch in (b for _ in range(epochs) for b in train[torch.randperm(len(train))].split(128)):
        logits, alignment = forward(batch, draws=1)
        optimiser.zero_grad()
        (nn.functional.binary_cross_entropy_with_logits(logits[0], y[batch]) + alignment).backward()
        optimiser.step()
    model.eval()
    score = forward(lacks := test[~present[test, 0]], draws=20)[0].sigmoid().mean(0).detach()
    return {"model": auroc(y[lacks], score), "best": data.truth.auroc("bayes", "test", "missing")}


if __name__ == "__main__":
    print(main())
