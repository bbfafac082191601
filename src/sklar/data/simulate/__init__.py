"""Data with a known truth: dependence, label, missingness, and the best possible prediction of every row.

The core (`Dependence`, `Outcome`, `Missingness`, `bayes`, `draw`) knows severities only; observation maps
(`MAPS`) turn them into series, images, texts and tables, and can be inverted. `simulate` joins the two in
memory, `write_simulation` writes a prepared folder.
"""

from sklar.data.simulate.dependence import Dependence
from sklar.data.simulate.missingness import MECHANISMS, Missingness
from sklar.data.simulate.observation import MAPS, ImageMap, ObservationMap, SeriesMap, TableMap, TextMap
from sklar.data.simulate.options import scenario_of
from sklar.data.simulate.outcome import Outcome
from sklar.data.simulate.posterior import Exceedance, bayes, complete, skip
from sklar.data.simulate.prepared import write_simulation
from sklar.data.simulate.scenario import Scenario
from sklar.data.simulate.simulation import Simulation, simulate
from sklar.data.simulate.truth import Truth, draw

__all__ = [
    "MAPS",
    "MECHANISMS",
    "Dependence",
    "Exceedance",
    "ImageMap",
    "Missingness",
    "ObservationMap",
    "Outcome",
    "Scenario",
    "SeriesMap",
    "Simulation",
    "TableMap",
    "TextMap",
    "Truth",
    "bayes",
    "complete",
    "draw",
    "scenario_of",
    "simulate",
    "skip",
    "write_simulation",
]
