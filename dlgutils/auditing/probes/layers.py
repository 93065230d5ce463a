"""Linear layers that hand out their input exactly: the first of all leaks."""

from torch import Tensor, nn

from dlgutils.analytic import rank_one
from dlgutils.auditing.pixel_layers import pixel_layers
from dlgutils.auditing.probes.images import with_images
from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation
from dlgutils.auditing.words import counted, listed
from dlgutils.federated.consistency import without_scale_and_decay
from dlgutils.federated.readable import NO_NOISE, require_sight
from dlgutils.types import Shared

_EXACT = 1e-3  # of the length of a gradient: what may be left over beside δ uᵀ


def layers(situation: Situation) -> Finding:
    """The input of every linear layer, from its own gradient of one image: δ uᵀ has it in a row.

    Neither the loss nor the place of the layer matters. Raises ValueError for several images or
    steps, and for defences that do not leave the product.
    """
    _require_one_visit(situation.shared)
    shared = without_scale_and_decay(situation.shared)
    handed = _handed_out(situation.model, shared)
    if not handed:
        told = "No linear layer's gradient is one product δ uᵀ, which would show what entered it."
        return Finding("layers", "quiet", told)
    numbers = sum(len(u) for u, _ in handed.values())
    left = max(residual for _, residual in handed.values())
    finding = Finding(
        "layers",
        "leak",
        f"What entered {listed(handed)} stands in the gradient exactly: "
        f"{counted(numbers, 'number')}.",
        f"each of these gradients is one product δ uᵀ, to {left:.0e} of its length",
        tuple(f"{name}.weight" for name in handed),
    )
    seen = pixel_layers(situation.model, shared.x_shape)
    direct = [name for name in handed if name in seen]
    if not direct:
        return finding
    inputs, _ = handed[direct[0]]
    x = seen[direct[0]].image(inputs, shared.x_shape)
    told = f"{finding.told} {direct[0]} gets the image itself."
    return with_images(situation, finding, told, x)


def linear_layers(model: nn.Module, shared: Shared) -> list[str]:
    """The linear layers whose gradients of weight and bias were shared, by name."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    sent = shared.gradient
    return [name for name in names if f"{name}.weight" in sent and f"{name}.bias" in sent]


def _handed_out(model: nn.Module, shared: Shared) -> dict[str, tuple[Tensor, float]]:
    """What entered each linear layer, (n_in,), and what of its gradient is left over, by name."""
    handed = {}
    for name in linear_layers(model, shared):
        weight, bias = shared.gradient[f"{name}.weight"], shared.gradient[f"{name}.bias"]
        try:
            rank_one.check(f"{name}.weight", shared)
            inputs = rank_one.linear_input(weight, bias)
        except ValueError:
            continue
        residual = float((weight - bias[:, None] * inputs).norm() / weight.norm())
        if residual <= _EXACT:
            handed[name] = inputs, residual
    return handed


def _require_one_visit(shared: Shared) -> None:
    protocol, images = shared.protocol, shared.x_shape[0]
    if images > 1:
        raise ValueError(
            f"the gradients of {images} images are added up, and only that of one shows what "
            "entered a layer; 'separation' takes them apart"
        )
    if protocol.steps > 1:
        raise ValueError(
            f"the gradients of {protocol.steps} steps are added up, and only that of one shows "
            "what entered a layer"
        )
    require_sight(protocol, NO_NOISE)
