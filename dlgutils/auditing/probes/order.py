"""All probes that see what a server sees, in the order of their cost."""

from collections.abc import Mapping

from dlgutils.auditing.looking import Probe, in_time
from dlgutils.auditing.probes.closed_form import closed_form
from dlgutils.auditing.probes.labels import labels
from dlgutils.auditing.probes.layers import layers
from dlgutils.auditing.probes.masks import masks
from dlgutils.auditing.probes.scale import scale
from dlgutils.auditing.probes.search import feature_matching, gradient_matching
from dlgutils.auditing.probes.separation import features, separation

PROBES: Mapping[str, Probe] = {
    "layers": in_time(layers),
    "scale": in_time(scale),
    "labels": in_time(labels),
    "masks": in_time(masks),
    "separation": in_time(separation),
    "features": in_time(features),
    "closed form": in_time(closed_form),
    "feature matching": feature_matching,
    "gradient matching": gradient_matching,
}
"""By name; searches end with the time by themselves. `limit.limit_at`, which sees the truth, comes
after them."""

_OF_IMAGES = ("layers", "features", "closed form", "feature matching", "gradient matching")


def of_images() -> dict[str, Probe]:
    """Those that may find images, by name."""
    return {name: PROBES[name] for name in _OF_IMAGES}
