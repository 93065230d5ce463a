"""What a model must be, so that its gradient can be shared and recomputed."""

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from dlgutils.federated.inputs import channels_last
from dlgutils.models import kept_buffers, mixing_layers


def check_model(model: nn.Module) -> None:
    """Raises ValueError for a model whose gradient nobody could recompute, or that has none."""
    if next(model.parameters(), None) is None:
        raise ValueError(
            f"this {type(model).__name__} has no parameters, hence no gradient to share; "
            "give it a layer that learns"
        )
    once = {name for name, _ in model.named_modules()}
    for name, layer in model.named_modules(remove_duplicate=False):
        if name not in once and next(layer.parameters(), None) is not None:
            raise ValueError(
                f"{name} is a {type(layer).__name__} that the model has under another name too: "
                "torch.func would damage it; keep it under one name, and call it twice in forward"
            )
        _check_layer(name, layer)


def outputs_of_zeros(model: nn.Module, x_shape: tuple[int, ...]) -> Tensor:
    """What the model makes of one image of zeros, (1, ...); of a batch, where it mixes its images.

    Raises ValueError if the model does not take images of this shape, (batch, channels, height,
    width), draws random numbers in its forward pass or changes its buffers, or returns something
    else than one tensor.
    """
    images = x_shape[0] if mixing_layers(model) else 1
    zero = next(model.parameters()).new_zeros(images, *x_shape[1:])
    with torch.no_grad(), torch.random.fork_rng(devices=[zero.device] if zero.is_cuda else []):
        try:
            with kept_buffers(model) as changed, _Draws(zero) as draws:
                outputs = model(zero)
        except (RuntimeError, AssertionError) as error:  # which some networks make of sizes
            first = "channels come first, as in x.permute(0, 3, 1, 2); "
            hint = first if channels_last(tuple(x_shape)) else ""
            raise ValueError(
                f"the model does not take images of shape {tuple(x_shape[1:])}: {error}; "
                f"{hint}resize them or build a model for them"
            ) from error
    if draws.names:
        raise ValueError(
            f"the model draws random numbers in its forward pass, in {', '.join(draws.names)}, so "
            "no attacker could repeat it; make it an nn.Dropout layer for models.expose_dropout, "
            "or use model.eval()"
        )
    if changed:
        raise ValueError(
            f"the model changes {', '.join(changed)} at each call, so that no attacker could "
            "repeat it, as spectral_norm does in train mode; use model.eval()"
        )
    _check_tensor(outputs)
    return outputs


class _Draws(TorchFunctionMode):
    """Which functions draw random numbers within: their names."""

    def __init__(self, like: Tensor):
        self.like, self.names = like, []
        super().__init__()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        before = _random_states(self.like)
        result = function(*args, **(kwargs or {}))
        after = _random_states(self.like)
        if not all(b.equal(a) for b, a in zip(before, after, strict=True)):
            self.names.append(resolve_name(function) or str(function))
        return result


def check_logits(outputs: Tensor) -> None:
    """Raises ValueError unless these are outputs of a classifier, (batch, classes)."""
    if outputs.ndim != 2:
        raise ValueError(
            f"a classifier returns (batch, classes), this model returned {tuple(outputs.shape)}; "
            "flatten before it"
        )


def _check_tensor(outputs: object) -> None:
    if isinstance(outputs, Tensor):
        return
    part = "[0]"
    if hasattr(outputs, "logits"):
        part = ".logits"
    elif isinstance(outputs, dict):
        part = f"[{next(iter(outputs), 'logits')!r}]"
    raise ValueError(
        f"a model returns one tensor of outputs, this one returned a {type(outputs).__name__}; "
        f"wrap it in a module whose forward returns self.model(x){part}"
    )


def _random_states(like: Tensor) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if like.is_cuda:
        states.append(torch.cuda.get_rng_state(like.device))
    return states


def _draws_inside(layer: nn.Module) -> bool:
    """Whether a layer of PyTorch other than dropout draws random numbers in train mode."""
    if not layer.training:
        return False
    if isinstance(layer, nn.RNNBase):
        return layer.dropout > 0 and layer.num_layers > 1
    return isinstance(layer, nn.RReLU) or (
        isinstance(layer, nn.MultiheadAttention) and layer.dropout > 0
    )


def _check_layer(name: str, layer: nn.Module) -> None:
    kind = type(layer).__name__
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
        raise ValueError(
            f"{name} is a {kind} without running statistics: it mixes the images of a batch even "
            "in eval mode; take models.batch_statistics(model), which does the same as a "
            "function, or build it with track_running_stats=True and use model.eval()"
        )
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training:
        raise ValueError(
            f"{name} is a {kind} in train mode: it mixes the images of a batch and changes itself "
            "at each call; take models.batch_statistics(model), which uses the batch's statistics "
            "and changes nothing, or model.eval() to share a gradient of fixed statistics"
        )
    if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training and layer.p > 0:
        raise ValueError(
            f"{name} is an active {kind}, which redraws its mask in secret at each call; "
            "use models.expose_dropout(model, x_shape), or model.eval() to switch it off"
        )
    if _draws_inside(layer):
        raise ValueError(
            f"{name} is a {kind} in train mode, which draws random numbers in secret at each call, "
            "and no mask of it has a name; switch it off, by its dropout = 0.0 or its eval()"
        )
