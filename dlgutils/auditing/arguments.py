"""What `python -m dlgutils audit` is called with."""

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from dlgutils.federated import defenses
from dlgutils.protocol import Defense, Protocol

EXAMPLE = """exit status:
  0  nothing above the threshold came back
  1  it did: see --fail-on
  2  the audit could not be done

example:
  python -m dlgutils audit my_project.networks:make_model --images pictures/ \\
      --labels names --clip 1 --noise 0.01 --html audit.html
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are raised."""

    def error(self, message: str) -> NoReturn:
        """Raises ValueError with the message, where others exit."""
        raise ValueError(f"{message}; see python -m dlgutils audit --help")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, without the name of the program.

    Raises ValueError for options that are unknown, missing or wrong; SystemExit after --help.
    """
    return _parser().parse_args(words)


def protocol_of(options: argparse.Namespace) -> Protocol:
    """What the client does, by the options. Raises ValueError for numbers that do not fit."""
    return Protocol(
        steps=options.steps,
        lr=options.lr,
        batch_size=options.batch_size,
        defenses=_defenses(options),
    )


def shape(word: str) -> tuple[int, int, int]:
    """(channels, height, width) of "32", "32x48" or "1x28x28"; three channels if not said."""
    found = re.fullmatch(r"(?:([13])x)?([1-9]\d*)x([1-9]\d*)|([1-9]\d*)", word.lower())
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{word!r} is no size; write 32x32, height and width, or 1x28x28 for grey pictures"
        )
    channels, height, width, side = found.groups()
    return int(channels or 3), int(height or side), int(width or side)


def budget(word: str) -> float | str:
    """Seconds, or the words of a time as they are."""
    try:
        return float(word)
    except ValueError:
        return word


def count(word: str) -> int:
    """A whole number from 1 on."""
    if not re.fullmatch(r"[1-9]\d*", word):
        raise argparse.ArgumentTypeError(f"{word!r} is no whole number from 1 on")
    return int(word)


def names(words: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(word.strip() for word in words.split(",") if word.strip())


def _parser() -> Parser:
    parser = Parser(
        prog="python -m dlgutils",
        description="The library of the book Gradients Leak, from a shell.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="audit")
    audit = commands.add_parser(
        "audit",
        help="what a network gives away of the images of one round",
        description="What a network gives away of the images of one round of federated learning.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    audit.add_argument("model", help="package.module:function; the function returns the model")
    _add_inputs(audit.add_argument_group("the client"))
    _add_protocol(audit.add_argument_group("the protocol"))
    _add_outputs(audit.add_argument_group("the report"))
    return parser


def _add_inputs(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--images", required=True, metavar="FOLDER", help="the client's pictures")
    add(
        "--labels",
        metavar="TABLE.csv|names|folders",
        help="a table of file and label; or class ids that file names begin with; or the names of "
        "the folders that the pictures lie in, numbered in their order unless --classes says "
        "otherwise; folders called by numbers are ids. Without: the classes that the model "
        "predicts",
    )
    add("--classes", type=names, default=(), metavar="A,B,…", help="names of all classes, by id")
    add("--weights", metavar="FILE", help="safetensors, or a state dict; nothing in it is executed")
    add(
        "--size",
        type=shape,
        default=(3, 32, 32),
        metavar="32x32",
        help="height and width to bring the pictures to; 1x28x28: in grey (default: 32x32)",
    )
    add("--first", type=count, metavar="N", help="take only the first N pictures, by name")


def _add_protocol(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--steps", type=count, default=1, metavar="N", help="local steps (default: 1)")
    add("--lr", type=float, default=0.1, help="learning rate of local steps (default: 0.1)")
    add("--batch-size", type=count, metavar="N", help="images of one step (default: all)")
    add("--clip", type=float, metavar="C", help="the length to which the update is clipped")
    add("--noise", type=float, metavar="σ", help="the standard deviation of the noise added then")


def _add_outputs(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--budget", type=budget, default="a minute", metavar="SECONDS", help="(default: a minute)")
    add("--html", metavar="FILE", help="write a page that needs nothing else")
    add("--json", metavar="FILE", help="write what was found, without pictures")
    add(
        "--fail-on",
        choices=("recognisable", "labels", "never"),
        default="recognisable",
        help="exit with 1 if an image is recognisable; or also if a label is read; or never "
        "(default: recognisable)",
    )


def _defenses(options: argparse.Namespace) -> tuple[Defense, ...]:
    chosen = []
    if options.clip is not None:
        chosen.append(defenses.clip(options.clip))
    if options.noise is not None:
        chosen.append(defenses.noise(options.noise))
    return tuple(chosen)
