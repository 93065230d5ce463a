"""The lab in a page: how a reader sets it up, runs it, and what can be seen of it."""

import re

import numpy as np
from playwright.sync_api import expect

PIXELS = """(lab, which) => {
    const canvas = lab.querySelectorAll("canvas")[which];
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""
TRUTH = 0
RECOVERED = 1


def choose(widget, name: str, value: str) -> None:
    """Choose a value of a select by the select's name."""
    widget.get_by_role("combobox", name=name, exact=True).select_option(value)


def reset(lab):
    """Choose what the lab is opened with, but 60 evaluations; nothing is kept."""
    for remove in lab.locator(".dlg-kept button").all()[::-1]:
        remove.click()
    choose(lab, "picture", "cat")
    choose(lab, "weights of the network", "default")
    choose(lab, "activation", "sigmoid")
    set_batch(lab, 1)
    set_defense(lab, "none")
    set_rate(lab, 0)
    lab.get_by_label("seed").fill("0")
    lab.get_by_label("evaluations", exact=True).fill("60")
    choose(lab, "attack", "iDLG")


def set_rate(lab, rate):
    """Move the slider of the dropout rate there, with the keyboard."""
    slider = lab.get_by_label("dropout rate")
    slider.press("Home")
    for _ in range(round(10 * rate)):
        slider.press("ArrowRight")


def set_defense(lab, name, *, known=False):
    """Choose the client's defence, and whether the attacker knows it."""
    choose(lab, "defence of the gradient", name)
    knows = lab.get_by_label("knows the defence")
    if name != "none":
        knows.set_checked(known)


def set_batch(lab, pictures):
    """Move the slider of the batch there, with the keyboard."""
    slider = lab.get_by_label("batch")
    slider.press("Home")
    for _ in range([1, 2, 4].index(pictures)):
        slider.press("ArrowRight")


def pixels(lab, which):
    """A picture of the lab, (32, 32, 3) bytes; those of a batch lie side by side."""
    content = np.array(lab.evaluate(PIXELS, which), dtype=np.uint8)
    return content.reshape(32, -1, 4)[..., :3]


def caption(lab):
    """What the lab reports below its pictures."""
    return lab.locator("[aria-live]").inner_text()


def run(lab):
    """Press Run, wait for the end; the RMSE that the lab reports."""
    press(lab, "Run")
    return wait_for_the_end(lab)


def press(lab, button):
    """Press a button by its whole name."""
    lab.get_by_role("button", name=button, exact=True).click()


def wait_for_the_end(lab):
    """Wait until a run is done; the RMSE that the lab reports."""
    expect(lab.locator("[aria-live]")).to_have_text(re.compile(r"^Done after"), timeout=120_000)
    return rmse_of(lab)


def rmse_of(lab):
    """The RMSE in the caption."""
    found = re.search(r"RMSE ([\d.]+)", caption(lab))
    return float(found.group(1))


def prepare_long_run(lab):
    """Choose a run that does not end while a test looks at it: Adam, with new masks for ever."""
    choose(lab, "attack", "iDLG, fresh masks")
    lab.get_by_label("evaluations", exact=True).fill("5000")


def words(lab):
    """What stands below the pictures of label and mask."""
    return " | ".join(lab.locator("figcaption").all_inner_texts())
