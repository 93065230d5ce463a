"""What is used of Opacus: imported here, with the name of the extra if it is absent."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

try:
    from opacus import GradSampleModule, PrivacyEngine
    from opacus.accountants import RDPAccountant
    from opacus.accountants.utils import get_noise_multiplier
    from opacus.optimizers import DPOptimizer
except ImportError as error:
    raise ImportError(
        f"dlgutils.federated.dp_sgd needs Opacus, which cannot be imported ({error}); "
        'install the extra: pip install "dlgutils[dp]"'
    ) from error

__all__ = ["DPOptimizer", "GradSampleModule", "PrivacyEngine", "RDPAccountant"]
__all__ += ["get_noise_multiplier", "quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that Opacus and its hooks give to everyone.

    Raises ValueError for a model that Opacus does not take, with its reasons.
    """
    with warnings.catch_warnings(), _in_words():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:
        raise ValueError(
            f"Opacus cannot train this model example by example: {error}; use other layers, such "
            "as opacus.validators.ModuleValidator.fix(model) puts there"
        ) from error
