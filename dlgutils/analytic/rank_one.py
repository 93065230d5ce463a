"""What one image leaves in a linear layer: the gradient δ uᵀ, of rank one.

Here u is what entered the layer z = W u + b, and δ = ∂loss/∂z = ∂loss/∂b.
"""

import torch
from torch import Tensor, nn

from dlgutils.types import Shared, Tensors

SIGNIFICANT = 6
"""A number counts as different from zero if it is more standard errors than this away from it."""


def check(name: str, shared: Shared) -> None:
    """Raises ValueError unless the gradient of a linear layer is δ uᵀ, as that of one image is.

    name: of the layer's weight, whose gradient is (n_out, n_in). Rounding is allowed for, that of a
    computation in the gradient's dtype and that on its way (`Shared.precision`).
    """
    gradient = shared.gradient[name]
    longest = gradient.norm(dim=1).argmax()
    row = gradient[longest]
    along_row = (gradient @ row)[:, None] * row / (row @ row)
    residual = gradient - along_row
    share = float(residual.norm() / gradient.norm())
    computed, sent = torch.finfo(gradient.dtype).eps, torch.finfo(shared.precision).eps
    if share > 1e3 * computed + sent:
        raise ValueError(
            f"the gradient of {name} is not a product δ uᵀ, as that of one image is: {share:.0e} "
            "of its length is left over; noise that was not announced, several images, or a layer "
            "used twice hide the mask: pass noise=, or optimise the mask, with attacks.dia"
        )


def linear_input(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """What entered a linear layer, (n_in,), from its gradients of one image.

    weight_gradient: ∂loss/∂weight, (n_out, n_in); bias_gradient: ∂loss/∂bias, (n_out,). Row i of
    the first is entry i of the second times u, so every row gives u alone; this is the
    least-squares mean of all rows. Source: Phong et al. 2018, doi:10.1109/TIFS.2017.2787987;
    Geiping et al. 2020, arXiv:2003.14053.

    Raises ValueError for a bias gradient of zeros: then the loss does not depend on the layer.
    """
    if not bias_gradient.any():
        raise ValueError(
            "∂loss/∂bias is zero everywhere, so the gradient contains nothing about what entered "
            "this layer: all of its units were off or dropped; ask the client for another round"
        )
    return bias_gradient @ weight_gradient / (bias_gradient @ bias_gradient)


# One image and noise of one size σ leave G = δ uᵀ + σ N, N standard normal, in a linear layer. The
# likelihood of δ uᵀ falls with ‖G − δ uᵀ‖², so the most likely one is the matrix of rank one
# nearest to G: the first term s l rᵀ of its singular value decomposition (Eckart & Young 1936,
# doi:10.1007/BF02288367).
#
# Which of its columns are zero? Since l has length one, s r = Gᵀ l = (lᵀδ) u + σ Nᵀl: every entry
# has a standard error of σ, whatever the size of the layer. The entry of a dropped unit exceeds six
# of them once in 5·10⁸ times, so even in a large layer no dropped unit is taken as kept. A kept
# unit that is this small is lost; it contributes less to the gradient than six standard errors.
#
# The classifier's δ = softmax − onehot is needed too: `labels.read` recognises it by a single
# negative entry and a sum of zero, and noise spoils both. The label is where δ is smallest; all
# other entries are probabilities, so they are not negative; and the entry of the label, a
# probability minus one, is minus their sum.
def project(model: nn.Module, shared: Shared, noise: float) -> Tensors:
    """The gradient with that of each linear layer made δ uᵀ, with zero columns: {name: tensor}.

    noise: the standard deviation of Gaussian noise in every number of the gradient. Other layers
    are left as they are, and so is what a partial update lacks.
    """
    gradient = dict(shared.gradient)
    for name, module in model.named_modules():
        weight = f"{name}.weight"
        if not isinstance(module, nn.Linear) or weight not in gradient:
            continue
        g = gradient[weight].double()
        left, size, right = torch.linalg.svd(g, full_matrices=False)
        row = size[0] * right[0]
        row = torch.where(row.abs() > SIGNIFICANT * noise, row, 0)
        gradient[weight] = (left[:, :1] * row).to(gradient[weight])
    _, bias = shared.classifier
    if bias:
        gradient[bias] = _balanced(gradient[bias])
    return gradient


def _balanced(delta: Tensor) -> Tensor:
    """δ with one negative entry, minus the sum of the others."""
    others = delta.clamp(min=0)
    label = delta.argmin()
    others[label] = 0
    others[label] = -others.sum()
    return others
