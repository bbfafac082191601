"""Every table and figure of the CM² paper as an experiment: which fits it needs, and how it is shown."""

from sklar.experiments.paper.ablations import ABLATIONS
from sklar.experiments.paper.cohorts import COHORTS
from sklar.experiments.paper.comparisons import COMPARISONS
from sklar.experiments.paper.drawings import DRAWINGS
from sklar.experiments.paper.plan import Experiment, Fit, Outcomes, Rendered
from sklar.experiments.paper.published import Published, published


def _number(experiment: Experiment) -> tuple[int, int]:
    kind, number = experiment.place.split()
    return ("Table", "Figure").index(kind), int(number)


EXPERIMENTS: dict[str, Experiment] = {
    experiment.place: experiment
    for experiment in sorted((*COHORTS, *COMPARISONS, *ABLATIONS, *DRAWINGS), key=_number)
}
"""By place, tables first."""

__all__ = ["EXPERIMENTS", "Experiment", "Fit", "Outcomes", "Published", "Rendered", "published"]
