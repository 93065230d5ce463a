"""Run the chapters that are out of date, as many at a time as there are cores.

`python -m tools.book.run_chapters`: they land in the cache from which the book is built. Jupyter's
cache knows a notebook by its cells alone; here its outputs are also thrown away when a file of the
library that it can reach has changed, or the versions in requirements.txt. The status is 1 if a
chapter fails.
"""

import sys
from collections.abc import Sequence
from multiprocessing import Pool
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.cache.main import JupyterCacheBase
from jupyter_cache.executors.basic import ExecutionWorkerLocalMProc, ProcessData

from tools.book import chapter_times
from tools.book.chapter_times import CACHE
from tools.book.kept import ROOT, digest, note, noted
from tools.book.reads import reached

NOTEBOOKS = ROOT / "notebooks"
DOCTREES = ROOT / "_build" / ".doctrees"
SECONDS = 600  # the most for one cell: on a busy machine one of chapter 6 takes minutes


def key(cache: JupyterCacheBase, notebook: Path) -> str:
    """The name under which the cache knows the cells of a notebook."""
    return cache.create_hashed_notebook(nbformat.read(notebook, nbformat.NO_CONVERT))[1]


def digests(
    cache: JupyterCacheBase, notebooks: Sequence[Path], root: Path = ROOT
) -> dict[str, str]:
    """{key: digest of what a notebook reaches of the checkout at `root`}, for each."""
    return {key(cache, book): digest(reached(book, root), root) for book in notebooks}


def prepare(cache: JupyterCacheBase, notebooks: Sequence[Path], now: dict[str, str]) -> None:
    """Make `notebooks` the cache's project, and drop outputs that come from other code than `now`.

    Digests are noted before the chapters run, so that an interruption loses no chapter that ended.
    """
    for record in cache.list_project_records():
        cache.remove_nb_from_project(record.pk)
    for notebook in notebooks:
        cache.add_nb_to_project(str(notebook))
    store = Path(cache.path) / "digests.json"
    before = noted(store)
    for record in cache.list_cache_records():
        if before.get(record.hashkey) != now.get(record.hashkey):
            cache.remove_cache(record.pk)
    note(now, store)


def run(cache: JupyterCacheBase, doctrees: Path = DOCTREES) -> list[str]:
    """Run what the cache does not have; returns the names of the chapters that failed.

    A page that was made from earlier outputs is thrown away, with its doctree.
    """
    work = []
    for record in cache.list_unexecuted():
        doctree = doctrees / "notebooks" / f"{Path(record.uri).stem}.doctree"
        doctree.unlink(missing_ok=True)
        work.append(ProcessData(record.pk, record.uri, cache, SECONDS, False))
    failed = []
    with Pool() as pool:
        for status, uri in pool.imap_unordered(ExecutionWorkerLocalMProc(), work):
            print("failed:" if status else "ran:", Path(uri).name, flush=True)
            if status:
                failed.append(uri)
                print(cache.get_project_record(uri).traceback, file=sys.stderr)
    return failed


def forget_changed(cache: JupyterCacheBase, before: dict[str, str], after: dict[str, str]) -> None:
    """Have chapters run again next time that changed while they ran, or whose library did."""
    changed = [name for name in before if after.get(name) != before[name]]
    note(dict.fromkeys(changed), Path(cache.path) / "digests.json")


def main() -> None:
    """Run what is out of date, and print how long each chapter took when it last ran."""
    cache = get_cache(CACHE)
    notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
    now = digests(cache, notebooks)
    prepare(cache, notebooks, now)
    failed = run(cache)
    forget_changed(cache, now, digests(cache, notebooks))
    chapter_times.main(str(CACHE))
    sys.exit(f"{len(failed)} chapters failed" if failed else 0)


if __name__ == "__main__":
    main()
