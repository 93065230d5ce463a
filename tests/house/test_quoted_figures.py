"""Figures that chapters quote from committed tables stand there, and follow from the tables."""

import math
from pathlib import Path

import pytest

from dlgutils import data
from reproduce import fedavg
from tools.chapters import chapters

ROOT = Path(__file__).resolve().parents[2]
LENET, CNN = "LeNet, sigmoid", "CNN"


def prose_of(number):
    """The text of a chapter, in one line."""
    (chapter,) = [found for found in chapters() if found.name.startswith(f"{number:02}_")]
    return " ".join(" ".join(cell.text.split()) for cell in chapter.main if cell.kind == "markdown")


@pytest.fixture(scope="module")
def prose():
    """The text of chapter 10, in one line."""
    return prose_of(10)


@pytest.fixture(scope="module")
def recovered():
    """recovered(network, epochs, client, lr, attacker): images that came back, and all."""
    table = data.table("fedavg").set_index(fedavg.SETTING).sort_index()

    def count(*setting):
        row = table.loc[setting]
        return int(row["recovered"]), int(row["images"])

    return count


STEPS = list(fedavg.ONE_IMAGE)


@pytest.mark.parametrize("client", STEPS)
def test_the_lenet_gives_its_images_back_whatever_the_number_of_steps(client, prose, recovered):
    assert "brings all 24 back on the LeNet, whatever their number" in prose
    assert recovered(LENET, 0, client, 0.01, "simulates") == (24, 24)


@pytest.mark.parametrize("network", [LENET, CNN])
@pytest.mark.parametrize("client", STEPS[1:])
def test_nothing_comes_of_an_update_that_is_taken_for_one_gradient(
    client, network, prose, recovered
):
    assert "for one gradient gets none from the second step on" in prose
    assert recovered(network, 0, client, 0.01, "one gradient") == (0, 24)


def test_the_cnn_is_harder_for_a_search(prose, recovered):
    assert "The CNN is harder for a search, with one step too" in prose
    assert f"it had {fedavg.EVALUATIONS[CNN]} evaluations here" in prose
    assert recovered(CNN, 0, "1 step", 0.01, "simulates")[0] < 24
    for client in STEPS:
        found, images = recovered(CNN, 15, client, 0.01, "simulates")
        assert found == 0
        assert images == len(fedavg.FEW) == 6


def test_a_trained_network_gives_features_after_twenty_steps(prose, recovered):
    assert "still gives two thirds of the photographs after twenty" in prose
    found, images = recovered(CNN, 15, "20 steps", 0.01, "features")
    assert 3 * found == 2 * images
    assert "on the fresh LeNet two steps are enough to spoil it" in prose
    assert recovered(LENET, 0, "1 step", 0.01, "features")[0] > 20
    assert recovered(LENET, 0, "2 steps", 0.01, "features")[0] == 0


@pytest.mark.parametrize("client", STEPS)
def test_at_a_high_rate_the_lenets_update_is_one_gradient(client, prose, recovered):
    assert "its update is one gradient divided by the number of steps" in prose
    assert recovered(LENET, 0, client, 0.1, "one gradient") == (24, 24)


def test_four_images_come_back_unless_they_are_shuffled(prose, recovered):
    once, images = recovered(LENET, 0, "4 images, 1 pass", 0.01, "simulates")
    thrice, _ = recovered(LENET, 0, "4 images, 3 passes", 0.01, "simulates")
    shuffled, _ = recovered(LENET, 0, "4 images, 3 shuffled passes", 0.01, "simulates")
    assert f"After one pass {once} of {images} images come back" in prose
    assert f"after three passes {thrice}." in prose
    assert "its images from the second pass on, none does" in prose
    assert shuffled == 0
    assert f"the {math.comb(4, 2) ** 2} orders of two later passes" in prose


def test_batch_norm_hides_less_with_its_statistics(prose):
    found = data.table("batch_norm").set_index(["batch", "attacker"])
    one, four = found.loc[(1, "train mode")], found.loc[(4, "train mode")]
    assert f"gets {one.recovered:g} of {one.images:g} single images" in prose
    assert f"in batches of four only {four.recovered:g} of {four.images:g}" in prose
    for batch in (1, 4):
        sent = found.loc[(batch, "statistics sent")]
        assert sent.recovered == sent.images
        assert found.loc[(batch, "takes it for eval mode")].recovered == 0


def test_chapter_5_quotes_the_fruits_of_the_trained_networks():
    table = data.table("trained").set_index(["images", "network", "attack", "epochs"])
    untrained, after_one = (table.loc["fruits", "LeNet, ReLU", "closed form", k] for k in (0, 1))
    assert untrained["recovered"] == untrained["runs"] == after_one["runs"]
    sentence = f"Of {untrained['runs']:.0f} fruits all came back, after one epoch {{:.0f}}."
    assert sentence.format(after_one["recovered"]) in prose_of(5)


def test_chapter_6_quotes_the_other_runs():
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert "| wide | line search | 0 of 108 | 98 of 108 | 4 of 108 |" in results
    prose = prose_of(6)
    assert "Of 108 other runs it lost four" in prose
    assert "(of the 108 others, 98)" in prose
