"""Draw the book's pictures that are out of date: python -m tools.book.pictures

The cards of the chapters come from runs of the library, the floors from its code. They are drawn
again when the script, or what it can reach of the library, has changed.
"""

import subprocess
import sys
from pathlib import Path

from tools.architecture import PACKAGE
from tools.book.kept import ROOT, digest, note, noted
from tools.book.reads import reached

HERE = Path(__file__).parent
CARDS = HERE / "draw_cards.py"
FLOORS = HERE / "draw_floors.py"


def sources(script: Path) -> set[Path]:
    """The files on which the pictures of a script depend."""
    if script == FLOORS:
        return {script, ROOT / "tools" / "architecture.py", *PACKAGE.rglob("*.py")}
    return {script} | reached(script)


def main() -> None:
    """Draw what is missing or out of date."""
    for script, picture in ((CARDS, "cards/lab.png"), (FLOORS, "floors.png")):
        now = digest(sources(script))
        if noted().get(script.stem) != now or not (ROOT / "_build" / picture).exists():
            module = f"tools.book.{script.stem}"
            subprocess.run([sys.executable, "-m", module], cwd=ROOT, check=True)
            note({script.stem: now})


if __name__ == "__main__":
    main()
