"""The benchmark of the lab's worker, on two photographs; benchmarks/RESULTS.md has its figures."""

import pytest

from benchmarks import live


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


def test_watched_times_a_photograph_that_comes_back(page):
    runs = [live.watched(page, live.Case(live.READ, rate=0.5, steps=40), k) for k in range(2)]
    assert all(run.recovered and run.labels and run.mask for run in runs)
    assert all(1 < run.evaluations <= 40 and 0 < run.seconds < 60 for run in runs)
    table = dict(zip(live.HEAD, live.row(live.Case(), runs), strict=True))
    assert table["MSE < 1e-2"].startswith("2 of 2")
    assert table["masks right"].startswith("2 of 2")


def test_watched_counts_a_photograph_that_does_not_without_a_time(page):
    run = live.watched(page, live.Case(rate=0.5, steps=5), 0)
    assert not run.recovered
    assert run.evaluations is run.seconds is run.mask is None
    assert run.labels is True
    table = dict(zip(live.HEAD, live.row(live.Case(), [run]), strict=True))
    assert table["MSE < 1e-2"].startswith("0 of 1")
    assert table["seconds to it, median (worst)"] == table["masks right"] == "–"


def test_watched_reads_the_labels_of_a_batch_and_of_a_trained_network(page):
    two = live.watched(page, live.Case(batch=2, steps=60), 11)
    assert two.recovered
    assert two.labels
    trained = live.watched(page, live.Case(weights="trained", steps=20), 1)
    assert not trained.recovered
    assert trained.labels
