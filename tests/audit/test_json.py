"""A report as JSON: by its schema, without images, written whole or not at all."""

import json
from dataclasses import fields, replace

import pytest
import torch

from dlgutils.auditing import Advice, Finding, Report, Scores, documents
from dlgutils.types import Batch
from tests.helpers import reports

jsonschema = pytest.importorskip("jsonschema")
MAKERS = [reports.full_report, reports.hostile_report, reports.quiet_report]


@pytest.fixture(scope="module")
def validator():
    found = jsonschema.Draft202012Validator
    found.check_schema(documents.schema())
    return found(documents.schema())


@pytest.mark.parametrize("make", MAKERS)
def test_to_json_is_what_the_schema_describes(make, validator):
    validator.validate(json.loads(make().to_json()))


@pytest.mark.parametrize("key", ["schema", "verdict", "findings", "best", "complete"])
def test_schema_wants_every_field(key, validator):
    document = reports.full_report().to_dict()
    del document[key]
    assert not validator.is_valid(document)


def test_schema_knows_no_other_field_and_no_other_version(validator):
    document = reports.full_report().to_dict()
    assert not validator.is_valid({**document, "mine": 1})
    assert not validator.is_valid({**document, "schema": 2})


def test_schema_describes_every_field_of_the_records():
    schema = documents.schema()
    parts = {name: schema["$defs"][name] for name in ("finding", "scores", "advice")}
    records = {"finding": Finding, "scores": Scores, "advice": Advice}
    for name, record in records.items():
        names = {field.name for field in fields(record)} - {"found"}
        assert names <= set(parts[name]["properties"]), name
    assert {f.name for f in fields(Report)} - {"truth"} <= set(schema["properties"])
    for part in (*parts.values(), schema["$defs"]["image"], schema):
        assert all("description" in each for each in part["properties"].values())


def test_to_json_has_scores_of_each_image_but_no_pictures():
    document = json.loads(reports.full_report().to_json())
    assert "base64" not in json.dumps(document)
    images = document["findings"][3]["images"]
    assert [image["recognisable"] for image in images] == [True] * 3 + [False] * 5
    assert [image["label"] for image in images] == list(range(8))
    assert document["shape"] == [8, 3, 32, 32]
    assert document["findings"][1]["masks"] == ["dropout"]


def test_to_json_has_null_for_what_is_no_number(validator):
    report = reports.full_report()
    nan = replace(report.findings[3].scores, mse=float("nan"), baseline_mse=float("inf"))
    finding = replace(report.findings[3], scores=nan)
    document = json.loads(replace(report, findings=(finding,), best=0).to_json())
    validator.validate(document)
    assert document["findings"][0]["scores"]["mse"] is None


def test_to_json_of_an_unknown_label_or_of_probabilities(validator):
    report = reports.full_report(4)
    found = report.findings[3].found._replace(y=torch.tensor([2, -1, 1, 0]))
    truth = Batch(report.truth.x, torch.eye(4)[[2, 0, 1, 3]])
    finding = replace(report.findings[3], found=found)
    document = replace(report, truth=truth, findings=(finding,), best=0).to_dict()
    validator.validate(document)
    images = document["findings"][0]["images"]
    assert [image["label_read"] for image in images] == [2, None, 1, 0]
    assert [image["label"] for image in images] == [2, 0, 1, 3]


@pytest.mark.parametrize("write", ["to_json", "to_html"])
def test_a_file_has_what_is_returned(write, tmp_path):
    path = tmp_path / "report"
    text = getattr(reports.quiet_report(), write)(path)
    assert path.read_text(encoding="utf-8") == text
    assert [each.name for each in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("write", ["to_json", "to_html"])
def test_half_a_letter_in_a_name_does_not_cost_the_report(write, tmp_path):
    """As in file names that are not UTF-8, which Python hands on in this way."""
    getattr(reports.hostile_report("caf\udce9"), write)(tmp_path / "report")
    assert "caf" in (tmp_path / "report").read_text(encoding="utf-8")


@pytest.mark.parametrize("write", ["to_json", "to_html"])
def test_a_file_that_cannot_be_written_is_an_error_with_the_way_out(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="choose a folder that exists"):
        getattr(reports.quiet_report(), write)(tmp_path / "nowhere" / "report")
    assert list(tmp_path.iterdir()) == []
