"""What a client does to its gradient before it leaves: values, gradient in, gradient out.

`share(model, batch, generator, defenses=[clip(1.0), noise(1e-3)])` applies them in this order, and
the round's protocol tells of them: what the server knows, its attacker knows. Other things that
protect a client are part of how it trains, and stand elsewhere: a larger batch is a larger batch,
local steps are `Protocol(steps=..., batch_size=...)`, dropout is a layer (`models.Dropout`), a
secure sum of clients is the gradient of all their images (chapter 10), and the clipping and noise
of DP-SGD, example by example, are in `federated.dp_sgd`.
"""

from dlgutils.federated.defenses.additive import laplace, noise
from dlgutils.federated.defenses.clipping import clip
from dlgutils.federated.defenses.imitation import imitate
from dlgutils.federated.defenses.pruning import prune_random, top_k
from dlgutils.federated.defenses.representation import soteria
from dlgutils.federated.defenses.rounding import half_precision, quantized, sign
from dlgutils.federated.defenses.rounds import defend, unknown
from dlgutils.protocol import Defense, Effect

__all__ = [
    "Defense",
    "Effect",
    "clip",
    "defend",
    "half_precision",
    "imitate",
    "laplace",
    "noise",
    "prune_random",
    "quantized",
    "sign",
    "soteria",
    "top_k",
    "unknown",
]
