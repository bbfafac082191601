"""A simulated hospital: raw tables like MIMIC's, images and texts, of patients whose severity is known.

Severity is one latent per modality (`severity`), coupled by a copula as in `sklar.data.simulate`; `stays` and
`cases` say who lies where and when, `events`, `pictures` and `words` show the severity, `three`, `four`,
`notes` and `cxr` write it in the layouts of the originals, and `truth` keeps what is true.
"""

from sklar.mimic.hospital.cases import CASES, Case
from sklar.mimic.hospital.plan import MODALITIES, HospitalPlan
from sklar.mimic.hospital.truth import TRUTH, Truth
from sklar.mimic.hospital.write import simulate, write_hospital

__all__ = ["CASES", "MODALITIES", "TRUTH", "Case", "HospitalPlan", "Truth", "simulate", "write_hospital"]
