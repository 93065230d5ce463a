"""Files that are written whole or not at all, and name the versions that wrote them."""

import os
import pickle
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from dlgutils.types import Result, Tensors

_FORMAT = "1"  # of a saved result: another number for another set of fields


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that nobody reads half of it: beside it first, then renamed.

    A file that was there is replaced, or kept if writing fails. Raises the OSError of the failure,
    FileNotFoundError or PermissionError for example, with the way out in its message.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise type(error)(
            f"{path} cannot be written ({error.strerror}); choose a folder that exists and is yours"
        ) from error


def versions() -> dict[str, str]:
    """The versions that write a file now: {"dlgutils": "0.1.0", "torch": "2.15.0"}."""
    return {"dlgutils": import_module(__package__).__version__, "torch": torch.__version__}


def save(result: Result, path: str | Path) -> None:
    """Write a result to one file of tensors and text (safetensors, not pickle), whole or not.

    Raises the OSError of the failure, FileNotFoundError for a folder that does not exist.
    """
    from safetensors.torch import save as serialise

    tensors = {}
    for name in _tensor_names():
        tensor = getattr(result, name).detach().cpu()
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
    words = {"attack": result.attack, "checked": result.checked, "complete": str(result.complete)}
    text = {"format": _FORMAT, **words, **versions()}
    write_atomic(Path(path), serialise(tensors, text))


def load(path: str | Path) -> Result:
    """The result that `save` wrote, on the CPU, equal to the last bit.

    Raises FileNotFoundError if there is no such file, and ValueError for a file that is damaged,
    holds something else, or was written in another format.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(
            f"there is no file {path} to load; save one there first: storage.save(result, path)"
        )
    try:
        with safe_open(path, "pt") as file:
            text = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged, or not a saved result ({error}); run the attack again and save it"
        ) from error
    _check_saved(path, text, tensors)
    words = {name: text[name] for name in ("attack", "checked")}
    return Result(**tensors, **words, complete=text["complete"] == "True")


def read_weights(path: str | Path) -> Tensors:
    """The tensors of a file of weights, by name, on the CPU; nothing in the file is executed.

    path: of a safetensors file, or of what `torch.save` wrote of a state dict, alone or as the one
    state dict in a checkpoint. Raises FileNotFoundError if there is no such file, and ValueError
    for a file that is damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path} with weights; write one with "
            "safetensors.torch.save_file(model.state_dict(), path)"
        )
    found = _safe_tensors(path) if path.suffix == ".safetensors" else _torch_tensors(path)
    inside = [part for part in found.values() if _is_state_dict(part)]
    weights = inside[0] if len(inside) == 1 else found
    if not _is_state_dict(weights):
        raise ValueError(f"{path} holds no state dict; save model.state_dict() there")
    return weights


def _safe_tensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or not a safetensors file ({error})") from error


def _torch_tensors(path: Path) -> Mapping[str, object]:
    """What torch.load returns where it runs no code of the file."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or holds more than tensors, and is not loaded: a pickle can run "
            "code; write the weights with safetensors.torch.save_file(model.state_dict(), path)"
        ) from error
    return found if isinstance(found, Mapping) else {}


def _is_state_dict(found: object) -> bool:
    tensors = found.values() if isinstance(found, Mapping) else ()
    return len(tensors) > 0 and all(isinstance(tensor, Tensor) for tensor in tensors)


def _tensor_names() -> list[str]:
    return [field.name for field in fields(Result) if field.type is Tensor]


def _check_saved(path: str | Path, text: Mapping[str, str], tensors: Tensors) -> None:
    if text.get("format", _FORMAT) != _FORMAT and "dlgutils" in text:
        raise ValueError(
            f"{path} holds a result of format {text['format']}, this dlgutils reads format "
            f"{_FORMAT}; install dlgutils {text['dlgutils']}, which wrote it, "
            "or run the attack again"
        )
    wanted = {*_tensor_names(), "format", "attack", "checked", "complete", "dlgutils", "torch"}
    wrong = wanted ^ {*text, *tensors}
    if wrong:
        raise ValueError(
            f"{path} is not a saved result: {sorted(wrong)} missing or unknown; "
            "save one with storage.save(result, path)"
        )
