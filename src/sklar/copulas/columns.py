"""One modality's uniforms as a pair of logs."""

from typing import NamedTuple

from torch import Tensor

from sklar.special import log1mexp


class Column(NamedTuple):
    """One modality's uniforms: log u and, where it is known more precisely than log u tells, log(1-u)."""

    log_u: Tensor
    log_sf: Tensor | None = None

    def survival(self) -> Tensor:
        """log(1-u)."""
        return log1mexp(-self.log_u) if self.log_sf is None else self.log_sf


Observed = Tensor | tuple[Tensor, Tensor]
"""A known modality: log u, or the pair (log u, log(1-u))."""
