"""A report in a terminal: the verdict first, in at most 80 columns, and nothing that steers it."""

from dataclasses import replace

import pytest

from tests.helpers import reports


@pytest.fixture(scope="module")
def report():
    return reports.full_report()


def lines(report):
    return str(report).splitlines()


def test_text_begins_with_the_verdict(report):
    words = " ".join(str(report).split())
    assert words.startswith(
        "3 of 8 images are recognisable; all labels are read; the mask of dropout is visible in "
        "classifier.weight. 1 probe failed. 1 probe was not reached."
    )


def test_repr_is_one_line():
    assert repr(reports.quiet_report()) == "Report(No image came back; its label is not read.)"


@pytest.mark.parametrize(
    "make", [reports.full_report, reports.hostile_report, reports.quiet_report]
)
def test_text_has_at_most_eighty_columns(make):
    assert max(map(len, lines(make()))) <= 80


def test_text_has_a_row_for_each_probe_with_its_time(report):
    text = str(report)
    for finding in report.findings:
        assert f"\n{finding.probe}" in text
    assert "32 s" in text
    assert "hidden.weight, hidden.bias" in " ".join(text.split())


def test_text_has_advice_before_and_after(report):
    words = " ".join(str(report).split())
    assert "clip to 1 and add noise of 0.01: 3 of 8 → 0 of 8 images recognisable." in words


def test_text_says_why_there_is_no_advice(report):
    assert report.advice
    hurried = " ".join(str(replace(report, advice=())).split())
    assert "No change could be tried in the time that was left" in hurried
    assert "No image is recognisable, so no change was tried" in str(reports.quiet_report())


def test_text_shows_no_character_that_steers_a_terminal():
    assert "\x1b" not in str(reports.hostile_report())


def verdict(**changes):
    return replace(reports.full_report(), **changes).to_dict()["verdict"]


@pytest.mark.parametrize(
    ("near", "n", "words"),
    [
        (0, 8, "None of the 8 images is recognisable"),
        (1, 8, "1 of 8 images is recognisable"),
        (8, 8, "All 8 images are recognisable"),
        (0, 1, "The image is not recognisable; its label is read"),
        (1, 1, "The image is recognisable; its label is read"),
    ],
)
def test_verdict_counts_images(near, n, words):
    assert reports.full_report(n, near=near).to_dict()["verdict"].startswith(words)


def test_verdict_of_a_quiet_report_says_that_nothing_came_back():
    found = reports.quiet_report().to_dict()
    assert found["verdict"] == "No image came back; its label is not read."
    assert found["leaks"] == []


def test_verdict_says_that_an_audit_was_interrupted():
    assert "The audit was interrupted" in verdict(complete=False)


def test_verdict_counts_the_worst_and_names_the_choice_of_the_attacker():
    report = reports.full_report()
    none = replace(report.findings[3].scores, recognisable=reports.rate(0, 8))
    other = replace(report.findings[3], probe="gradient matching", scores=none)
    findings = (*report.findings[:-1], other)
    found = replace(report, findings=findings, best=len(findings) - 1).to_dict()
    assert found["verdict"].startswith("3 of 8 images are recognisable")
    assert "would choose “gradient matching”, with 0 of 8 recognisable" in found["verdict"]
    assert (found["clearest"], found["best"]) == (3, 6)


def test_labels_that_a_quiet_probe_names_are_not_read():
    report = reports.full_report()
    guess = replace(report.findings[0], verdict="quiet", labels=reports.rate(1, 8))
    found = replace(report, findings=(guess,), best=None).to_dict()
    assert "no label is read" in found["verdict"]
    assert found["leaks"] == []


def test_a_report_says_what_leaked():
    assert reports.full_report().to_dict()["leaks"] == ["recognisable", "labels", "others"]
