"""How long the chapters took to run when they last did, as a Markdown table.

`python -m tools.book.chapter_times [cache]`: seconds on the clock, two chapters at a time, as
jupyter-cache wrote them down. A chapter whose code has not changed since keeps its old time.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from jupyter_cache import get_cache

CACHE = Path(__file__).resolve().parents[2] / "_build" / ".jupyter_cache"


def chapter_times(cache: Path) -> Iterator[tuple[str, float]]:
    """Name and seconds of each chapter that was executed, in the order of their names."""
    executed = get_cache(cache)
    for record in sorted(executed.list_project_records(), key=lambda record: record.uri):
        run = executed.get_cached_project_nb(record.pk)
        if run is not None:
            yield Path(record.uri).stem.replace("_", " "), run.data["execution_seconds"]


def main(cache: str = str(CACHE)) -> None:
    """Print the table, with the sum at its end."""
    times = list(chapter_times(Path(cache)))
    times.append(("together", sum(seconds for _, seconds in times)))
    print("| chapter | seconds |\n|---|---|")
    for name, seconds in times:
        print(f"| {name} | {seconds:.0f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
