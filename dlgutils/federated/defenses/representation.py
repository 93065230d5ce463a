"""Defences that look at the images: Soteria, made by the client for its own."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.func import jacrev

from dlgutils import models
from dlgutils.federated.batch_checks import check_images
from dlgutils.federated.defenses.checks import check_share
from dlgutils.federated.defenses.pruning import largest
from dlgutils.federated.model_checks import check_model
from dlgutils.models.forward import forward
from dlgutils.models.modules import recorded_calls
from dlgutils.protocol import Defense, Effect
from dlgutils.types import Tensors


# To move the image that is recovered far by changing few features r, those are changed for which
# |r| / ‖∂r/∂x‖ is largest.
def soteria(model: nn.Module, x: Tensor, share: float) -> Defense:
    """The defence that takes features out of the gradient of the classifier's weight.

    What entered the classifier, r, gives the image away; those features are zero in the gradient of
    its weight for which `|r| / ‖∂r/∂x‖` is largest. No other tensor changes. Source: Sun et al.
    2021, arXiv:2012.06043. The attacker sees which columns are zero, and leaves them out
    (Balunović et al. 2022, arXiv:2111.04706, say how little is left of the defence then). If noise
    came after it, those columns are left out that may be noise alone.

    Args:
        model: the client's network, that ends with a linear layer. Dropout is taken as off.
        x: the client's images, (batch, channels, height, width). Of a batch, `‖∂r/∂x‖ / |r|` is
            added up over the images for which the feature is not zero.
        share: of the features that is kept, above 0 and at most 1; the paper prunes 1 to 80 %. A
            feature that is zero for all images, as a ReLU's may be, has a column of zeros anyway,
            and does not count.

    Raises ValueError for a share out of range, for models and images that `share` does not take,
    if no linear layer is called, and if all features are zero.
    """
    check_share("soteria", share)
    model = models.unwrapped(model)
    check_model(model)
    check_images(next(model.parameters()), x)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    seen: list[str] = []

    def features(image: Tensor) -> Tensor:
        with recorded_calls(model) as calls:
            forward(model, weights, image[None])
        linear = [call for call in calls if isinstance(call.module, nn.Linear)]
        if not linear:
            raise ValueError(
                f"this {type(model).__name__} has no linear layer, whose inputs soteria would take "
                "out of the gradient; use top_k, or noise"
            )
        seen.append(f"{linear[-1].name}.weight")
        return linear[-1].input.flatten()

    sensitivity = sum(_sensitivity(features, image) for image in x.detach())
    kept = _most_sensitive(sensitivity, share)
    classifier = seen[-1]

    def apply(gradient: Tensors, _: Generator | None) -> Tensors:
        if classifier not in gradient:
            return gradient
        return {**gradient, classifier: gradient[classifier] * kept.to(gradient[classifier])}

    def imitate(made: Tensors, sent: Tensors) -> Tensors:
        if classifier not in sent:
            return made
        columns = (sent[classifier] != 0).any(0)
        return {**made, classifier: torch.where(columns, made[classifier], 0)}

    return Defense(f"Soteria, {share:.4g} kept", apply, imitate, Effect.REMOVES)


def _sensitivity(features: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """‖∂r/∂x‖ / |r| of each feature of one image, (n,); 0 where r is zero anyway."""
    slope = jacrev(features)(image).flatten(1).norm(dim=1)
    size = features(image).abs()
    return torch.where(size > 0, slope / size, 0)


def _most_sensitive(sensitivity: Tensor, share: float) -> Tensor:
    """Which features are the most sensitive `share` of those that are on, (n,), bool."""
    on = sensitivity != 0
    if not on.any():
        raise ValueError(
            "every feature is zero for these images, so their gradient has nothing for soteria to "
            "take out; train the network first, or use another one"
        )
    kept = torch.zeros_like(on)
    kept[on] = largest(sensitivity[on], share)
    return kept
