"""Links of the chapters, before and after the book has an address."""

import json
from types import SimpleNamespace

import pytest

from tools.book.addresses import (
    hide_buttons,
    home,
    in_cells,
    to_addresses,
    to_files,
    without_dead_links,
)

SITE = home("me", "dlgutils")
FILES = {
    "[RMSE](../book/glossary.md#term-RMSE)": f"[RMSE]({SITE}book/glossary.html#term-RMSE)",
    "[next](02_reading_the_label.ipynb).": f"[next]({SITE}notebooks/02_reading_the_label.html).",
    "[model](../book/threat_model.md)": f"[model]({SITE}book/threat_model.html)",
}


@pytest.mark.parametrize(("file", "address"), FILES.items())
def test_to_addresses_and_to_files_undo_each_other(file, address):
    assert to_addresses(file, SITE) == address
    assert to_files(address, SITE) == file


@pytest.mark.parametrize(
    "text",
    ["[paper](https://arxiv.org/abs/1906.08935)", "[a](#part)", "x[i](j)", "`[f](a.py)` b.md"],
)
def test_to_addresses_leaves_other_links_alone(text):
    assert to_addresses(text, SITE) == text
    assert to_files(text, SITE) == text


def test_to_files_sees_them_from_the_page():
    text = f"[RMSE]({SITE}book/glossary.html#term-RMSE)"
    assert to_files(text, SITE, "book") == "[RMSE](glossary.md#term-RMSE)"


def test_without_dead_links_keeps_the_words():
    text = (
        "# Title\n\n[Open in Colab](https://colab.research.google.com/github/OWNER/x)\n\n"
        "See [the *table*](https://github.com/OWNER/dlgutils/blob/main/RESULTS.md), "
        "[a paper](https://arxiv.org/abs/1) and [this](../book/x.md).\n"
    )
    assert without_dead_links(text) == (
        "# Title\n\nSee the *table*, [a paper](https://arxiv.org/abs/1) and [this](../book/x.md).\n"
    )


def test_without_dead_links_takes_the_link_off_a_card():
    card = ":::{card} Run\n:link: https://colab.research.google.com/github/OWNER/a.ipynb\nText\n:::"
    assert without_dead_links(card) == ":::{card} Run\nText\n:::"


def test_in_cells_leaves_code_alone():
    link = "[a](https://github.com/OWNER/b)"
    kinds = ("markdown", "code")
    cells = [{"cell_type": kind, "source": ["x\n", link]} for kind in kinds]
    markdown, code = json.loads(in_cells(json.dumps({"cells": cells})))["cells"]
    assert markdown["source"] == "x\na"
    assert code["source"] == ["x\n", link]


@pytest.mark.parametrize(("owner", "hidden"), [("OWNER", True), ("me", False)])
def test_hide_buttons_only_without_an_address(owner, hidden):
    options = {"use_repository_button": True, "launch_buttons": {"colab_url": "x"}}
    config = SimpleNamespace(html_baseurl=home(owner, "dlgutils"), html_theme_options=options)
    hide_buttons(None, config)
    assert options["use_repository_button"] is not hidden
    assert bool(options["launch_buttons"]) is not hidden
