"""What must be known before our numbers are held against the paper's."""

from collections.abc import Mapping

from sklar.data.store import PreparedData

FULL: Mapping[str, str] = {"mimic-iii": "1.4", "mimic-iv": "2.2"}
"""The versions whose row counts the paper's Tables 1 and 8 print."""

OPEN = (
    "Left open by the paper, and set by sklar: which values of its grid won (dropout .3, learning rate 1e-4 "
    "or that of the released scripts, weight 1e-6, temperature .001, K = 3), latent width 256, the copula "
    "family (Frank), draws at prediction (20), and all sizes of the ViT, Transformer, LSMT and Interleaved. "
    "No grid is searched here; `sklar tune` does. Text encoders begin at random unless `--set "
    "model.encoders.text.pretrained=...` names weights; the paper's TinyBERT is pretrained."
)

RELEASED = (
    "Published numbers probably contain what the released code does: its alignment loss evaluates no copula "
    "density, its mixture components stay identical, imputed latents never reach the classifier, Adam's "
    "second decay is .9, validation runs before each epoch, and its main MIMIC-IV script trains nothing as "
    "released."
)

SWAPPED = (
    "The paper's CM² intervals on MIMIC-III are inconsistent with its test rows: matched ones (n = 806) are "
    "half as wide as all others', as n = 3,236 would give, and partial ones of readmission twice too wide; "
    "the means .754 and .445 stand in both tables. The rows look exchanged, or judged on the wrong test set."
)

_TABLES: Mapping[str, tuple[str, ...]] = {
    "Table 1": (
        "The paper prints 377,095 pictures with labels and 377,110 in all; the rows of MIMIC-CXR are not "
        "paired.",
    ),
    "Table 2": (
        OPEN,
        RELEASED,
        SWAPPED,
        "DrFuse is the paper's Transformer and ResNet-50. Rows without a paper number are beside the paper.",
        "In-hospital mortality AUROC of MIMIC-III could not be read with certainty, so that it is not "
        "compared.",
    ),
    "Table 3": (
        OPEN,
        RELEASED,
        SWAPPED,
        "Test rows of the two settings differ, so that Tables 2 and 3 cannot be compared; the rows 'on "
        "matched test rows' judge the models of this table on those of Table 2.",
    ),
    "Table 4": (
        "KL is the divergence of softmaxes as in the released code, which runs cosine for it on MIMIC-III.",
        "Weights: 1 for cosine and KL as in the released scripts, which the paper does not print.",
    ),
    "Table 5": (
        "What the rows switch off is not said. The released switch of 'w/o GPS' parses False as true, so "
        "that its row changes nothing there; ours are zeros, and draws without a gradient.",
    ),
    "Table 6": (
        "The released scripts of the matched row use Gaussian (IHM) and Gumbel (READM), the paper reports "
        "Frank; its families differ by at most .008.",
    ),
    "Table 7": (
        RELEASED,
        "The released MedFuse and CM² never read the third modality: replacing it by noise changes no "
        "prediction.",
    ),
    "Table 8": ("The paper prints 2,795 deaths on MIMIC-III, the benchmark's own statistics 2,797.",),
    "Table 9": (
        "Settings of LSMT and Interleaved are not published with the paper; ours are their originals'.",
    ),
    "Table 10": (
        OPEN,
        "LSMT and Interleaved read series themselves, so that their rows with LSTM and Transformer are one "
        "fit.",
        "DrFuse with LSTM and ResNet is a fit of its own. In-hospital mortality AUROC of LSMT and "
        "Interleaved with Transformer and ResNet could not be read with certainty, so that they are not "
        "compared.",
    ),
    "Table 11": ("The paper's p-values cannot be had from the intervals of its Table 2.",),
    "Figure 2": ("Densities are drawn under standard normal margins.",),
    "Figure 3": (
        "The paper's correlation, (alpha - 1) / alpha, is Kendall's tau of the Gumbel family. In the "
        "released code alpha rises with every step, on independent data too, so that 0.601 is no evidence of "
        "learning. Epochs are counted from zero.",
    ),
    "Figure 4": (
        "Epochs 5, 50 and 100, counted from zero: 4, 49 and 99; of a fit that stopped before, its first, "
        "middle and last one.",
    ),
    "Figure 5": (
        "In the released code all components begin equal and stay so: K changes nothing there.",
        "The paper draws lines without printing their values.",
    ),
}


def caveats(place: str) -> tuple[str, ...]:
    """The sentences that belong under a table or figure."""
    return _TABLES.get(place, ())


def banner(data: Mapping[str, PreparedData], scale: str) -> str:
    """Which data these numbers come from, and whether they can be compared with the paper's."""
    parts = []
    for name, own in data.items():
        rules = own.manifest.rules
        version = rules.get("version", "unknown version")
        parts.append(f"{own.manifest.name} ({name}, {version}, {own.manifest.counts['all'].subjects:,} rows)")
    where = "; ".join(parts) or "no data"
    if comparable(data) and scale == "full":
        return f"Data: {where}. Full MIMIC at full scale."
    return (
        f"Data: {where}; scale {scale}. NOT COMPARABLE with the paper: this is not full MIMIC at full scale."
    )


def comparable(data: Mapping[str, PreparedData]) -> bool:
    """Whether these are whole, real cohorts of the versions that the paper used."""
    return all(
        own.manifest.rules.get("version") == FULL[name] and not own.manifest.rules.get("synthetic", False)
        for name, own in data.items()
    )
