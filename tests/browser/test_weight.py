"""What a reader loads with each page, into an empty cache, from a host that compresses text.

The table of all pages lies in _build/page_weights.md afterwards.
"""

import base64
import json
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import PAGES, Visit
from tools.book.browser import ROOT

KB = 1024
LIMIT = 1500 * KB  # transferred with one page
STATE_LIMIT = (
    300 * KB
)  # of the widgets on one page, before base64 and compression, without their code
TABLE = ROOT / "_build" / "page_weights.md"

LOADED = """() => ["navigation", "resource"].flatMap(
    (kind) => performance.getEntriesByType(kind)
).map(
    ({ name, transferSize, decodedBodySize }) => [name, transferSize, decodedBodySize])"""
STATE = """() => {
    const type = "application/vnd.jupyter.widget-state+json";
    return document.querySelector(`script[type='${type}']`)?.textContent;
}"""


class Weight(NamedTuple):
    """A page and all it loads; sizes in bytes."""

    page: str
    requests: int
    transferred: int
    unpacked: int
    state: int  # of widgets
    heaviest: str

    @property
    def row(self) -> str:
        sizes = (f"{size / KB:.0f}" for size in (self.transferred, self.unpacked, self.state))
        return f"| {self.page} | {self.requests} | {' | '.join(sizes)} | {self.heaviest} |"


def state_size(text: str | None) -> int:
    """Bytes of all widgets' traits: JSON and buffers."""
    size = 0
    for model in json.loads(text or '{"state": {}}')["state"].values():
        size += sum(len(base64.b64decode(buffer["data"])) for buffer in model.get("buffers", []))
        size += len(
            json.dumps(
                {name: value for name, value in model["state"].items() if not name.startswith("_")}
            )
        )
    return size


def weigh(visit: Visit) -> Weight:
    loaded = visit.page.evaluate(LOADED)
    heaviest = sorted(loaded, key=lambda entry: -entry[1])[:3]
    return Weight(
        visit.name,
        len(loaded),
        sum(entry[1] for entry in loaded),
        sum(entry[2] for entry in loaded),
        state_size(visit.page.evaluate(STATE)),
        ", ".join(
            f"{urlsplit(address).path.rpartition('/')[2]} {size / KB:.0f}"
            for address, size, _ in heaviest
        ),
    )


@pytest.fixture(scope="module")
def weights(look, site):
    """The weight of every page, also written into the table."""
    weights = [weigh(look(site, name)) for name in PAGES]
    columns = ("page", "requests", "KB transferred", "KB unpacked", "KB of widget state")
    head = f"| {' | '.join(columns)} | heaviest, KB transferred |"
    rows = [head, "|---|---:|---:|---:|---:|---|", *(weight.row for weight in weights)]
    TABLE.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return {weight.page: weight for weight in weights}


@pytest.mark.parametrize("page", PAGES)
def test_page_is_light(weights, page):
    weight = weights[page]
    assert weight.transferred > 50 * KB, "nothing was measured"
    assert weight.transferred <= LIMIT, (
        f"{page} loads {weight.transferred / KB:.0f} KB, {LIMIT / KB:.0f} at most; "
        f"the heaviest: {weight.heaviest}. "
        "Give it fewer or smaller pictures, or its widgets less state."
    )


@pytest.mark.parametrize("page", PAGES)
def test_widgets_carry_little(weights, page):
    state = weights[page].state
    assert state <= STATE_LIMIT, (
        f"{page} stores {state / KB:.0f} KB for its widgets, {STATE_LIMIT / KB:.0f} at most: "
        "store fewer frames or scenes."
    )
