"""Build the pages, every warning an error: python -m tools.book.build_pages

All pages are written anew, since each shows titles of others and links to them. What Sphinx read
before, its doctrees, is kept as long as nothing but chapters and pages of prose has changed, whose
changes Sphinx sees, and the last build went well: a warning is given only while a page is read.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tools.book.kept import ROOT, digest, note, noted

PROSE = {".md", ".ipynb"}
FOLDERS = ("dlgutils", "tools", "assets", "book", "_build/cards")
DOCTREES = ROOT / "_build" / ".doctrees"
HTML = ROOT / "_build" / "html"


def settings(root: Path = ROOT) -> set[Path]:
    """All files behind the pages, but those whose changes Sphinx sees by itself."""
    found = {root / "_config.yml", root / "_toc.yml", root / "_build" / "floors.png"}
    for folder in FOLDERS:
        files = (path for path in (root / folder).rglob("*") if path.is_file())
        found |= {path for path in files if "__pycache__" not in path.parts}
    prose = root / "book"
    return {path for path in found if path.suffix not in PROSE or path.parent != prose}


def main() -> None:
    """Run Jupyter Book; the status is its own."""
    now = digest(settings(ROOT), ROOT)
    if noted().get("pages") != now:
        shutil.rmtree(DOCTREES, ignore_errors=True)
    note({"pages": None})
    shutil.rmtree(HTML, ignore_errors=True)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "."]
    done = subprocess.run([*command, "-W", "-n", "--keep-going"], cwd=ROOT, check=False)
    if done.returncode == 0:
        note({"pages": now})
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
