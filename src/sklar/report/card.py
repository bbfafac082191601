"""A model card from a run folder: what to know before the model is used, and what is still open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklar.evaluation import METRICS
from sklar.report.averages import Averages, averages_table, outputs_table
from sklar.report.cohort import Cohort
from sklar.report.contest import Contest
from sklar.report.detail import CALIBRATION, SMALLEST, Detail, pattern_table, threshold_table
from sklar.report.folder import Run
from sklar.report.formats import Cell, TextTable, to_markdown
from sklar.report.tables import display
from sklar.report.writers import estimate

TRIPOD: Mapping[str, str] = {
    "1": "Title",
    "2": "Abstract",
    "3": "Background: context, target population, inequalities",
    "4": "Objectives",
    "5": "Data: sources and dates",
    "6": "Participants: setting, eligibility, treatments",
    "7": "Data preparation",
    "8": "Outcome: definition, horizon, assessors",
    "9": "Predictors: definition, timing, assessors",
    "10": "Sample size justification",
    "11": "Missing data",
    "12": "Analytical methods",
    "13": "Class imbalance",
    "14": "Fairness",
    "15": "Model output and thresholds",
    "16": "Training versus evaluation data",
    "17": "Ethical approval",
    "18": "Open science: funding, conflicts, protocol, registration, data, code",
    "19": "Patient and public involvement",
    "20": "Flow of participants and their characteristics",
    "21": "Participants and events in each analysis",
    "22": "Full model specification",
    "23": "Performance with intervals",
    "24": "Model updating",
    "25": "Interpretation",
    "26": "Limitations",
    "27": "Usability: missing inputs, users, next steps",
}
"""Topics of the TRIPOD+AI checklist (Collins et al., BMJ 2024;385:e078378) by item, in our words."""

SPLITS = ("train", "valid", "test")
USE = (
    "Research on prediction with missing modalities. Not a medical device: nobody has shown that acting on "
    "these predictions helps patients. Whoever deploys the model names the setting, the users and the "
    "decision here."
)


@dataclass(frozen=True)
class Card:
    """A model card.

    Attributes:
        text: Markdown.
        ticked: Items of ``TRIPOD`` that the run folder answers, with what answers them.
        unticked: Items that people must answer.
    """

    text: str
    ticked: Mapping[str, str]
    unticked: tuple[str, ...]


def card(run: Run, cohort: Cohort, result: Contest, detail: Detail) -> Card:
    """The card of one run; no ids, and no cell of fewer than 20 rows.

    Args:
        run: The run folder.
        cohort: Its test rows.
        result: Its metrics, as the only contestant.
        detail: Its calibration, thresholds and patterns, share-safe.
    """
    parts = [
        "## Performance on test rows\n\n" + to_markdown(_performance(result, detail)),
        "## Acting on a threshold\n\n" + to_markdown(threshold_table(detail)),
        "## By what was observed\n\n" + to_markdown(pattern_table(detail)),
    ]
    return _card(run, cohort.modalities, parts, detail)


def outputs_card(run: Run, found: Averages, parts: Mapping[str, tuple[Contest, Detail]]) -> Card:
    """The card of one run that predicts several outputs: all together, then each.

    Args:
        run: The run folder.
        found: Its metrics over all outputs, as the only contestant.
        parts: Per judged output its metrics and, share-safe, its detail.
    """
    text = [
        "## Performance on test rows\n\n" + to_markdown(averages_table(found)),
        "## Each output\n\n" + to_markdown(outputs_table(found, smallest=SMALLEST)),
    ]
    for output, (result, detail) in parts.items():
        text += [
            f"## Output: {output}\n\n" + to_markdown(_performance(result, detail)),
            "### Acting on a threshold\n\n" + to_markdown(threshold_table(detail)),
            "### By what was observed\n\n" + to_markdown(pattern_table(detail)),
        ]
    return _card(run, run.test.modalities, text, next(iter(parts.values()))[1])


def _card(run: Run, modalities: Sequence[str], results: Sequence[str], detail: Detail) -> Card:
    done = ticked(run, detail)
    unticked = tuple(item for item in TRIPOD if item not in done)
    data = run.data
    name = display(run.name)
    label = ", ".join(run.test.outputs) or data.get("label", "the outcome")
    parts = [
        f"# Model card: {name}",
        f"Predicts `{label}` from {', '.join(modalities) or 'its inputs'}, "
        f"any of which may be missing. Data: {data.get('name', 'unnamed')} (hash "
        f"`{str(data.get('hash', 'not recorded'))[:12]}`{', restricted' if run.restricted else ''}), seed "
        f"{run.config.get('seed', 'not recorded')}.",
        f"## Intended use\n\n{USE}",
        *results,
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits(run)),
        "## TRIPOD+AI\n\n"
        + "\n".join(
            f"- [x] {item}. {topic}: {done[item]}" if item in done else f"- [ ] {item}. {topic}"
            for item, topic in TRIPOD.items()
        ),
    ]
    return Card("\n\n".join(part.rstrip() for part in parts) + "\n", done, unticked)


def _performance(result: Contest, detail: Detail) -> TextTable:
    (model,) = result.models
    values = {METRICS[name].label: estimate(value) for name, value in result.estimates[model].items()}
    values["Log loss"] = f"{detail.log_loss:.3f}"
    for name in CALIBRATION:
        known = detail.calibration.get(name)
        values[METRICS[name].label] = "undefined" if known is None else estimate(known)
    values |= {METRICS[name].label: f"{value:.3f}" for name, value in detail.errors.items()}
    rows = [[Cell(name), Cell(text)] for name, text in values.items()]
    note = (
        f"{result.rows:,} rows in {result.groups:,} groups; 95 % intervals from {result.resamples:,} group "
        "bootstrap resamples. A perfect calibration has intercept 0 and slope 1."
    )
    return TextTable(["Measure", "Value"], rows, note)


def limits(run: Run) -> Sequence[str]:
    """What the numbers do not say, and what was left undone."""
    limits = [
        "Intervals are over test rows of one split and one trained model; other splits and seeds vary more.",
        "An imputation interval is about what is missing; it is no confidence interval.",
        "Missing by design, by chance and because of the patient's state are not told apart.",
    ]
    if not run.metrics.get("calibration"):
        limits.append("Probabilities are the model's own; they were not recalibrated.")
    elif not run.metrics["calibration"]["kept"]:
        limits.append("Recalibration used the rows that also selected the model, as there were few.")
    scratch = [name for name, origin in run.weights.items() if _source(origin) == "scratch"]
    if scratch:
        limits.append(f"Trained from random initial weights: {', '.join(scratch)}.")
    return [*limits, *(str(note) for note in run.data.get("notes", ()))]


def ticked(run: Run, detail: Detail) -> dict[str, str]:
    """What the folder answers; an item that also needs a person's judgement stays open."""
    counts = run.data.get("counts", {})
    found = {
        "12": "config.yaml, docs of sklar",
        "15": "a probability; thresholds above",
        "22": "the run folder",
    }
    found["23"] = "tables above"
    if run.data.get("attrition"):
        found["20"] = f"{len(run.data['attrition'])} steps of exclusion in data.json"
    if all(split in counts for split in ("train", "valid", "test")):
        found["21"] = ", ".join(
            f"{split} {counts[split]['subjects']:,}" for split in ("train", "valid", "test")
        )
    if run.data.get("rules") or run.data.get("schema"):
        found["7"] = "rules, schema and training statistics in data.json"
        found["9"] = f"schema of {len(run.data.get('modalities', ()))} modalities in data.json"
    if run.data.get("presence"):
        found["11"] = f"masks; {len(detail.patterns)} patterns above"
    if calibration := run.metrics.get("calibration"):
        found["24"] = f"{calibration['recalibration']['kind']} recalibration on {calibration['rows']:,} rows"
    return found


def _source(origin: Any) -> str:
    return str(origin.get("source", "")) if isinstance(origin, Mapping) else ""
