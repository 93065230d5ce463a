"""Draw the floors of the library, from its code, for the book: python tools/book/draw_floors.py

Rooms are boxes with their number of lines; an arrow leads from a room to one that it imports from.
What follows from other arrows is left out: widgets import types too, by way of every floor between.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.architecture import FLOORS, modules, uses

PICTURE = Path(__file__).resolve().parents[2] / "_build" / "floors.png"
WIDTH, HEIGHT = 10.0, 0.56  # of the drawing, and of a room; floors are one apart
GROUND, BLUE, PALE = "#10273d", "#2f7ab8", "#d8eefc"


def places() -> dict[str, tuple[float, float]]:
    """The middle of each room: floors from the ground up, rooms of a floor side by side."""
    found = {}
    for height, floor in enumerate(FLOORS):
        for k, room in enumerate(floor):
            found[room] = (WIDTH * (k + 0.5) / len(floor), float(height))
    return found


def lines(room: str) -> int:
    """The number of lines of a room's modules."""
    files = [path for name, path in modules().items() if name.split(".")[0] == room]
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def draw_room(ax: Axes, room: str, x: float, y: float) -> None:
    """A box with the room's name and its number of lines."""
    box = {"facecolor": PALE, "edgecolor": BLUE, "boxstyle": "round,pad=0.3"}
    text = f"{room}\n{lines(room)} lines"
    ax.text(x, y, text, ha="center", va="center", fontsize=11, color=GROUND, bbox=box, zorder=2)


def draw_import(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow from the lower edge of one room to the upper edge of another."""
    (x1, y1), (x2, y2) = start, end
    style = {"arrowstyle": "-|>", "color": BLUE, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (x2, y2 + HEIGHT / 2), (x1, y1 - HEIGHT / 2), arrowprops=style, zorder=1)


def direct(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without the arrows that follow from others."""

    def reached(room: str) -> set[str]:
        return graph[room].union(*(reached(other) for other in graph[room]))

    return {room: others - set().union(*map(reached, others)) for room, others in graph.items()}


def draw() -> Figure:
    """The whole house."""
    figure = Figure(figsize=(7.2, 7.2), facecolor="white")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(-0.5, len(FLOORS) - 0.5))
    ax.set_axis_off()
    for height in range(0, len(FLOORS), 2):
        ax.axhspan(height - 0.5, height + 0.5, color="#f3f7fa", zorder=0)
    where = places()
    for room, others in direct(uses()).items():
        draw_room(ax, room, *where[room])
        for other in sorted(others):
            draw_import(ax, where[room], where[other])
    return figure


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw().savefig(PICTURE, dpi=120)
