"""Logits to drag, and what they leave in the gradient of the classifier's bias."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from traitlets import List

from dlgutils.widgets.base import Widget, front_end, synced


class Deltas(Widget):
    """Sliders for logits, and bars for ∂loss/∂b; make it with `deltas`."""

    _esm = front_end("deltas")
    # names of the classes
    classes = synced(List())
    # names of the networks between which a selector switches
    networks = synced(List())
    # [network][image][class]: logits, with mean 0 over the classes
    logits = synced(List())
    # [image]: class ids
    labels = synced(List())

    def __repr__(self) -> str:
        """What is printed where widgets cannot be shown."""
        chosen = self.classes[self.labels[0]]
        return f"δ = softmax(z) − onehot of one image: negative at {chosen}, its class"


def deltas(logits: Mapping[str, Tensor], labels: Tensor, classes: Sequence[str]) -> Deltas:
    """Bars of δ = softmax(z) − onehot(y), and of its mean over a batch of 1, 2 or 4 images.

    The reader drags the logits z of every image, chooses its class, and sees what the client would
    send: the gradient of the classifier's bias. The page computes in float32, as PyTorch does.

    Args:
        logits: the logits to begin with, (images, classes), by the name of the network that gave
            them; their mean over the classes, which softmax does not see, is taken off.
        labels: (images,) class ids.
        classes: the names of the classes.

    Raises ValueError for no logits, and for shapes or labels that do not fit each other.
    """
    wanted = (len(labels), len(classes))
    wrong = {name: tuple(z.shape) for name, z in logits.items() if tuple(z.shape) != wanted}
    if wrong or not logits or not len(labels):
        got = wrong or "none"
        raise ValueError(f"the logits of every network have the shape {wanted}, got {got}")
    if not ((labels >= 0) & (labels < len(classes))).all():
        raise ValueError(f"labels lie in 0 … {len(classes) - 1}, got {labels.tolist()}")
    centred = [z.detach() - z.detach().mean(1, keepdim=True) for z in logits.values()]
    return Deltas(
        classes=list(classes),
        networks=list(logits),
        logits=[z.double().round(decimals=2).tolist() for z in centred],
        labels=labels.tolist(),
    )
