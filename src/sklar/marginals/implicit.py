"""The gradient of an inverted Rosenblatt transform, by the implicit function theorem."""

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.marginals.transform import in_logs, parts


def implicit(
    z: Float[Tensor, "m n d"],
    log_weights: Float[Tensor, "m k #n"],
    loc: Float[Tensor, "m k d"],
    scale: Float[Tensor, "m k d"],
    log_u: Float[Tensor, "m n d"],
    log_sf: Float[Tensor, "m n d"],
) -> Float[Tensor, "m n d"]:
    r"""``z`` itself, with its gradient in the mixture and in u.

    $R(z, \theta) = u$ gives $dz = J^{-1}(du - \partial_\theta R\, d\theta)$ with $J = \partial R / \partial
    z$ lower triangular: below its diagonal $J_{ji} = \sum_k w_{kj} (\Phi_{kj} - u_j) (-t_{ki} / s_{ki})$. All
    of it is taken on the log odds of u, which neither end of the interval flattens. First order only: J is a
    constant.
    """
    found_u, found_sf, _ = in_logs(z, log_weights, loc, scale)
    residual = (found_u - found_sf) - (log_u - log_sf)
    if not residual.requires_grad:
        return z
    jacobian = _jacobian(z, log_weights.detach(), loc.detach(), scale.detach())
    step = torch.linalg.solve_triangular(jacobian, (residual - residual.detach()).unsqueeze(-1), upper=False)
    implied: Tensor = z - step.squeeze(-1)
    return implied


def _jacobian(z: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """(m, n, d, d) derivatives of the log odds of u_j in z_i, zero for i > j."""
    t, log_w, below, above, log_density = parts(z, log_weights, loc, scale)
    log_u, log_sf = (log_w + below).logsumexp(1), (log_w + above).logsumexp(1)
    slope = (log_w + log_density).logsumexp(1) - log_u - log_sf
    pull = (log_w + below - log_u.unsqueeze(1)).exp() - (log_w + above - log_sf.unsqueeze(1)).exp()
    jacobian = torch.einsum("mknj,mkni->mnji", pull, -t / scale.unsqueeze(2)).tril_(-1)
    jacobian.diagonal(dim1=-2, dim2=-1).copy_(slope.exp())
    return jacobian
