"""A batch taken apart, and the inputs of all linear layers at the end of the network."""

from dlgutils.analytic import features as feature_reading
from dlgutils.auditing.pixel_layers import pixel_layers
from dlgutils.auditing.probes.images import with_images
from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation
from dlgutils.auditing.words import counted, listed


def separation(situation: Situation) -> Finding:
    """What entered the classifier, for every image of a batch. Raises ValueError as `separate`."""
    images = situation.images
    if images == 1:
        raise ValueError("one image is no batch, and need not be taken apart")
    found = situation.separation
    if found.reading is None:
        return Finding("separation", "quiet", f"The batch does not come apart: {found.reason}.")
    width = found.reading.features.shape[1]
    told = (
        f"{found.n_found} of {images} images came apart: the labels, and the "
        f"{counted(width, 'number')} that entered the classifier, each to "
        f"{float(found.error.max()):.0e} of its length."
    )
    certificate = f"they leave {found.residual:.0e} of the classifier's gradient"
    named, read_from = found.reading.y, tuple(n for n in situation.shared.classifier if n)
    return Finding("separation", "leak", told, certificate, read_from, named=named)


def features(situation: Situation) -> Finding:
    """What entered each linear layer at the end of the network. Raises ValueError as `read`."""
    model, shared = situation.model, situation.shared
    reading = None if situation.images == 1 else situation.separation.reading
    if situation.images > 1 and reading is None:
        raise ValueError(f"the batch does not come apart: {situation.separation.reason}")
    found = feature_reading.read(model, shared, reading)
    names = [layer.name for layer in found.layers]
    numbers = sum(layer.inputs.shape[1] for layer in found.layers)
    told = (
        f"What entered {listed(names)} is read exactly for {counted(len(found.y), 'image')}: "
        f"{counted(numbers, 'number')}{' of each' if len(found.y) > 1 else ''}."
    )
    if found.reason:
        told = f"{told} Not below: {found.reason}."
    residual = max(layer.residual for layer in found.layers)
    certificate = f"of each layer's gradient, at most {residual:.0e} is left over"
    read_from = tuple(f"{name}.weight" for name in names)
    finding = Finding("features", "leak", told, certificate, read_from, named=found.y)
    seen = pixel_layers(model, shared.x_shape)
    for layer in found.layers:
        if layer.name in seen:
            x = seen[layer.name].image(layer.inputs, shared.x_shape)
            told = f"{told} {layer.name} gets the images themselves."
            return with_images(situation, finding, told, x, found.y, found.masks)
    return finding
