"""Models, protocols and names as parts of sentences."""

from collections.abc import Iterable, Sequence

from torch import nn

from dlgutils.protocol import Protocol

_LEAST = 0.001  # per cent that are told


def listed(names: Iterable[str]) -> str:
    """Names as part of a sentence, at most three of them."""
    names = list(names)
    if len(names) > 3:
        return f"{names[0]}, {names[1]} and {len(names) - 2} others"
    head, _, tail = ", ".join(names).rpartition(", ")
    return f"{head} and {tail}" if head else tail


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 image", "3 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(share: float) -> str:
    """A share, from 0 on, in per cent and in plain digits: "0.058 %", "130 %"."""
    number = 100 * share
    if number < _LEAST:
        return f"less than {_LEAST} %"
    return f"{number:.2g} %" if number < 99.5 else f"{number:.0f} %"


def class_in_words(label: int, class_names: Sequence[str]) -> str:
    """A class id, with its name where classes have names: "3", "3 (cat)"."""
    return f"{label} ({class_names[label]})" if class_names else str(label)


def model_in_words(model: nn.Module) -> str:
    """The class of a model, and how many numbers are trained."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    number = f"{trained:,}".replace(",", " ")
    return f"{type(model).__name__}, {number} trained numbers"


def protocol_in_words(protocol: Protocol, images: int) -> str:
    """What a client does with so many images, and what it sends."""
    per_step = min(protocol.batch_size or images, images)
    parts = [counted(images, "image")]
    if protocol.steps == 1:
        parts.append(f"one step of SGD on {'all' if per_step == images else per_step} of them")
    else:
        parts.append(f"{protocol.steps} steps of SGD on {per_step} each, lr {protocol.lr:g}")
    for name in ("momentum", "weight_decay"):
        if getattr(protocol, name):
            parts.append(f"{name.replace('_', ' ')} {getattr(protocol, name):g}")
    if protocol.shuffle:
        parts.append("shuffled")
    if not protocol.is_cross_entropy:
        parts.append("a loss or targets of its own")
    if protocol.example_norm:
        parts.append(f"each image's gradient clipped to {protocol.example_norm:g}")
    if protocol.scale is None:
        parts.append("multiplied by a number that the server is not told")
    elif protocol.scale != 1:
        parts.append(f"multiplied by {protocol.scale:g}")
    if protocol.sent:
        parts.append(f"only {listed(protocol.sent)} sent")
    parts += [defense.name for defense in protocol.defenses]
    return "; ".join(parts)


def limits_in_words(protocol: Protocol, *, predicted: bool) -> tuple[str, ...]:
    """What an audit cannot see, a sentence each.

    protocol: of the round. predicted: whether the labels are the model's own.
    """
    told = []
    if predicted:
        told.append(
            "Labels were not given: the model's own predictions stand for them, and another label "
            "makes another gradient."
        )
    told += [
        "It is one round of one client, with these images and these weights: other images, and "
        "weights before or after training, may give away more or less.",
        "Where it found nothing, it proves nothing: an attack that is longer, newer, or knows more "
        "of the images may find them.",
        "The server is honest: one that chooses the weights, or sends each client others, is not "
        "tried; nor is one that sees many rounds of the same images.",
        "It is the update of one client alone: secure aggregation, behind which a server sees only "
        "the sum over many clients, is not tried; it helps as far as the other clients are honest.",
        "Recognisable is an SSIM of 0.5 or more, and nearer than a guess without the update; "
        "people may recognise less, or see something else in it.",
    ]
    if protocol.sigma:
        told.append(
            "Noise by itself is no differential privacy: ε follows from clipping each image's "
            "gradient, from all rounds, and from how clients are drawn."
        )
    return tuple(told)
