"""The client's batch from a folder: pictures brought to one size, and their labels."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dlgutils import data
from dlgutils.auditing.words import counted

MOST = 256  # images of one client's batch
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder, in the order of their names."""

    names: tuple[str, ...]  # paths in the folder, with /
    x: Tensor  # (n, channels, height, width) in [0, 1]
    skipped: tuple[str, ...]  # a sentence for each file that is no picture


def pictures_of(folder: str | Path, shape: tuple[int, int, int], first: int | None) -> Pictures:
    """The pictures of a folder and of those in it, without hidden files and CSV tables.

    Args:
        folder: with pictures.
        shape: (channels, height, width) to bring them to; 1 channel: in grey.
        first: how many to take, in the order of their names; None: all.

    Raises ValueError if there is no such folder, no picture in it, or too many for one batch.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; name one with the client's pictures")
    wanted = first or MOST + 1
    names, pictures, skipped = [], [], []
    for path in _files(folder):
        if len(names) == wanted:
            break
        try:
            picture = data.picture(path, size=shape[1:])
        except (ValueError, OSError) as error:
            skipped.append(f"skipped {error}")
            continue
        names.append(path.relative_to(folder).as_posix())
        pictures.append(picture if shape[0] == 3 else grey(picture))
    _check_number(folder, len(names), first, skipped)
    return Pictures(tuple(names), torch.cat(pictures), tuple(skipped))


def grey(x: Tensor) -> Tensor:
    """Colours, (n, 3, height, width), as their brightness, (n, 1, height, width)."""
    weights = torch.tensor(LUMA).view(3, 1, 1)
    return (weights * x).sum(1, keepdim=True)


def labels_of(
    names: Sequence[str], folder: str | Path, source: str, classes: Sequence[str]
) -> Tensor:
    """The class ids of the pictures of these names, (n,).

    Args:
        names: of the pictures, as `pictures_of` found them.
        folder: in which they lie.
        source: "names": the number that a file's name begins with; "folders": the folder that it
            lies in; or the path of a CSV table, of file and label a line.
        classes: the names of the classes, in the order of their ids; (): labels are ids.

    Raises ValueError if a picture has no label, or one that is unknown.
    """
    if source == "names":
        words = {name: _leading_number(name) for name in names}
    elif source == "folders":
        words = {name: (Path(folder).resolve() / name).parent.name for name in names}
    else:
        words = _of_table(Path(source), names)
    ids = [_class_id(words[name], name, classes) for name in names]
    return torch.tensor(ids)


def class_folders(folder: str | Path) -> tuple[str, ...]:
    """The names of the folders in a folder, sorted, where classes are kept as torchvision has them.

    Its `ImageFolder` numbers classes in that order, with those of which there is no picture. ():
    the folders are called by numbers, which are the ids.
    """
    inside = [path.name for path in Path(folder).iterdir() if path.is_dir()]
    names = sorted(name for name in inside if not name.startswith("."))
    return () if all(_is_id(name) for name in names) else tuple(names)


def _is_id(word: str) -> bool:
    return word.isascii() and word.isdigit()


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        is_hidden = any(part.startswith(".") for part in inside)
        if path.is_file() and not is_hidden and path.suffix.lower() != ".csv":
            found.append(path)
    return found


def _check_number(folder: Path, found: int, first: int | None, skipped: Sequence[str]) -> None:
    if found == 0:
        but = f", but {counted(len(skipped), 'other file')}" if skipped else ""
        raise ValueError(f"there is no picture in {folder}{but}; put the client's pictures there")
    if first is None and found > MOST:
        raise ValueError(
            f"{folder} holds more than {MOST} pictures, and an audit is of one client's batch; "
            "say how many to take: --first 8"
        )


def _leading_number(name: str) -> str:
    number = re.match(r"\d+", Path(name).name)
    if number is None:
        raise ValueError(
            f"the name of {name} does not begin with a class id, such as 3_{Path(name).name}; "
            "name a CSV table of files and labels instead"
        )
    return number.group()


def _of_table(path: Path, names: Sequence[str]) -> Mapping[str, str]:
    """The label of each picture as a table has it, by its path in the folder or its name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a table of labels ({error})") from error
    table = {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}
    if len(table) < len(rows):
        raise ValueError(f"{path} wants one line of file and label for each picture: cat.png,3")
    found = {name: table.get(name, table.get(Path(name).name)) for name in names}
    missing = [name for name, label in found.items() if label is None]
    if missing:
        others = f", and {counted(len(missing) - 1, 'other picture')}" if missing[1:] else ""
        raise ValueError(f"{path} has no label for {missing[0]}{others}; add a line for each")
    return found


def _class_id(word: str, name: str, classes: Sequence[str]) -> int:
    if word in classes:
        return classes.index(word)
    if _is_id(word):
        return int(word)
    known = f"the classes are {', '.join(classes)}" if classes else "name the classes: --classes"
    raise ValueError(f"the label of {name} is {word!r}, and no class id; {known}")
