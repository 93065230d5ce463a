"""What people bring as images and labels, and what it has to become."""

from torch import Tensor

from dlgutils.types import Batch

_CHANNELS = (1, 3, 4)


def as_batch(pair: Batch | tuple[Tensor, Tensor]) -> Batch:
    """A pair of images and labels, as a `DataLoader` has them, as a batch.

    Raises ValueError unless both are tensors, and the images in floating point.
    """
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"a batch is a pair of images and labels, got a {type(pair).__name__}; pass Batch(x, y)"
        )
    batch = Batch(*pair)
    check_arrays(batch)
    return batch


def check_arrays(batch: Batch) -> None:
    """Raises ValueError unless images and labels are tensors, and the images in floating point."""
    x, y = batch
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ValueError(
            "images are a tensor (batch, channels, height, width) in floating point with values in "
            f"[0, 1], got {_described(x)}; {_way_out(x)}"
        )
    if not isinstance(y, Tensor):
        raise ValueError(
            f"labels are a tensor with one entry per image, got {_described(y)}; "
            f"{_way_out_of_labels(y)}"
        )


def channels_last(shape: tuple[int, ...]) -> bool:
    """Whether a shape looks like (…, height, width, channels) instead of channels first."""
    return len(shape) >= 3 and shape[-1] in _CHANNELS and shape[-3] not in _CHANNELS


def _described(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if not hasattr(value, "shape"):
        return f"the {type(value).__name__} {str(value)[:60]}"
    kind = "a tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    return f"{kind} of {value.dtype} and shape {tuple(value.shape)}"


def _way_out(x: object) -> str:
    """How images become a tensor of the right kind, as code."""
    if isinstance(x, list | tuple):
        return "make each image a tensor (channels, height, width), and join them with torch.stack"
    if not hasattr(x, "shape"):
        return "make an array of it first: numpy.asarray(image.convert('RGB'))"
    tensor = "x" if isinstance(x, Tensor) else "torch.from_numpy(x)"
    shape = tuple(x.shape)
    if channels_last(shape):
        first = {3: "2, 0, 1", 4: "0, 3, 1, 2"}.get(len(shape))
        tensor += f".permute({first})" if first else ""
    if len(shape) < 4:
        tensor += "[None]" * (4 - len(shape))
    return f"pass {tensor}.float(){' / 255' if _is_whole(x) else ''}"


def _is_whole(x: object) -> bool:
    dtype = str(x.dtype)
    return "float" not in dtype and "bool" not in dtype


def _way_out_of_labels(y: object) -> str:
    if hasattr(y, "shape"):
        return "pass torch.from_numpy(y)"
    if isinstance(y, int) and not isinstance(y, bool):
        return f"pass torch.tensor([{y}])"
    return "pass torch.tensor(y)"
