"""The command: a page and a status, or one sentence and nothing half-written."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

from dlgutils import data
from dlgutils.auditing import command, folders
from tests.helpers import reports

FACTORIES = """
import sys
import torch
from torch import nn

def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 12))

model = make_model()
number = 3

def raises():
    raise RuntimeError("no weights\\non this machine")

def exits():
    sys.exit(3)

def in_double():
    return model.double()

def returns_none():
    pass

def wants_an_argument(size):
    pass
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a module of factories and one of pictures, in which the command runs."""
    (tmp_path / "factories_of_a_test.py").write_text(FACTORIES)
    (tmp_path / "broken_for_a_test.py").write_text("import nothing_of_this_name")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for k, name in enumerate(("cat", "coffee", "rocket")):
        pixels = (data.photos(name).x[0].permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(pictures / f"{k}_{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("factories_of_a_test", "broken_for_a_test"):
        sys.modules.pop(name, None)


@pytest.fixture
def audited(monkeypatch):
    """What the audit was called with; it returns a report made by hand."""
    calls = {"report": reports.full_report()}

    def audit(model, batch, **options):
        calls.update(options, model=model, batch=batch)
        return calls["report"]

    monkeypatch.setattr(command, "audit", audit)
    return calls


def run(*words):
    """The status of the command on the project's model and pictures."""
    return command.main(["audit", "factories_of_a_test:make_model", "--images", "pictures", *words])


def refused(capsys, status):
    """The one sentence of a command that could not be done."""
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    (sentence,) = printed.err.splitlines()
    assert "Traceback" not in sentence
    assert sentence.startswith("dlgutils audit: ")
    return sentence


def test_command_prints_the_table_and_writes_page_and_json(project, audited, capsys):
    assert run("--html", "audit.html", "--json", "audit.json") == 1
    printed = capsys.readouterr()
    assert printed.out == f"{audited['report']}\n"
    assert printed.err == ""
    assert (project / "audit.html").read_text().startswith("<!doctype html>")
    assert json.loads((project / "audit.json").read_text())["schema"] == 1


def test_table_is_printed_where_there_are_few_letters(project, audited, monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, "ascii"))
    assert run() == 1
    sys.stdout.flush()
    assert printed.getvalue().startswith(b"3 of 8 images are recognisable")


@pytest.mark.parametrize(
    ("near", "fail_on", "status"),
    [(3, "recognisable", 1), (3, "never", 0), (0, "recognisable", 0), (0, "labels", 1)],
)
def test_status_follows_the_threshold(project, audited, near, fail_on, status):
    audited["report"] = reports.full_report(near=near)
    assert run("--fail-on", fail_on) == status


def test_status_counts_a_leak_that_the_attacker_would_not_choose():
    report = reports.full_report()
    none = replace(report.findings[3].scores, recognisable=reports.rate(0, 8))
    other = replace(report.findings[3], scores=none)
    report = replace(report, findings=(*report.findings, other), best=len(report.findings))
    assert command.status(report, "recognisable") == 1


def test_status_of_an_audit_that_was_cut_short_is_no_all_clear(project, audited, capsys):
    quiet = reports.full_report(near=0)
    audited["report"] = replace(quiet, complete=False)
    assert run() == 2
    assert "no all-clear" in capsys.readouterr().err
    unreached = replace(quiet, findings=(quiet.findings[0], quiet.findings[-1]), best=None)
    assert command.status(unreached, "recognisable") == 2
    assert command.status(reports.quiet_report(), "recognisable") == 0


def test_options_become_the_protocol(project, audited):
    run("--steps", "5", "--lr", "0.05", "--batch-size", "2", "--clip", "1", "--noise", "0.01")
    protocol = audited["protocol"]
    assert (protocol.steps, protocol.lr, protocol.batch_size) == (5, 0.05, 2)
    assert [defense.name for defense in protocol.defenses] == ["clipped to 1", "noise, σ = 0.01"]
    assert audited["budget"] == 60
    run("--budget", "7")
    assert audited["budget"] == 7
    run("--budget", "half a minute")
    assert audited["budget"] == 30


def test_pictures_come_in_the_order_of_their_names_in_one_size(project, audited):
    run()
    assert audited["batch"].shape == (3, 3, 32, 32)
    assert audited["batch"].equal(data.photos("cat", "coffee", "rocket").x)
    run("--size", "1x12x20", "--first", "2")
    assert audited["batch"].shape == (2, 1, 12, 20)


def test_pictures_have_the_dtype_of_the_model(project, audited):
    words = ["factories_of_a_test:in_double", "--images", "pictures", "--labels", "names"]
    command.main(["audit", *words])
    assert audited["batch"].x.dtype == torch.float64


def test_grey_is_the_brightness():
    white = torch.ones(2, 3, 4, 4)
    torch.testing.assert_close(folders.grey(white), torch.ones(2, 1, 4, 4))


def test_labels_come_from_names_folders_or_a_table(project, audited):
    run("--labels", "names")
    assert audited["batch"].y.tolist() == [0, 1, 2]
    (project / "labels.csv").write_text("2_rocket.png,7\n0_cat.png, 5\n1_coffee.png,cup\n")
    run("--labels", "labels.csv", "--classes", "cat,cup")
    assert audited["batch"].y.tolist() == [5, 1, 7]
    for name in ("cat", "cup"):
        folder = project / "sorted" / name
        folder.mkdir(parents=True)
        shutil.copy(project / "pictures" / "0_cat.png", folder / "a.png")
    words = ["--images", "sorted", "--labels", "folders", "--classes", "cat,cup"]
    command.main(["audit", "factories_of_a_test:make_model", *words])
    assert audited["batch"].y.tolist() == [0, 1]
    assert audited["class_names"] == ("cat", "cup")


def test_folders_number_their_classes_as_torchvision_does(project, audited, capsys):
    for name in ("cup", "cat", "bird", ".hidden"):
        (project / "sorted" / name).mkdir(parents=True)
    for name in ("cat", "cup"):
        shutil.copy(project / "pictures" / "0_cat.png", project / "sorted" / name / "a.png")
    run("--images", "sorted", "--labels", "folders")
    assert audited["batch"].y.tolist() == [1, 2]
    assert audited["class_names"] == ("bird", "cat", "cup")
    assert "in the order of their folders: 0 is bird" in capsys.readouterr().err


def test_folders_that_are_called_by_numbers_are_ids(project, audited):
    for name in ("7", "10"):
        (project / "sorted" / name).mkdir(parents=True)
        shutil.copy(project / "pictures" / "0_cat.png", project / "sorted" / name / "a.png")
    run("--images", "sorted", "--labels", "folders")
    assert sorted(audited["batch"].y.tolist()) == [7, 10]
    assert audited["class_names"] == ()


def test_too_few_names_of_classes_are_refused(project, capsys):
    sentence = refused(capsys, run("--size", "8", "--classes", "cat,cup"))
    assert "the model has 12 classes, and 2 have a name" in sentence


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("0_cat.png,1\n", "no label for 1_coffee.png, and 1 other picture; add a line for each"),
        ("0_cat.png;1\n", "labels.csv wants one line of file and label"),
        ("0_cat.png,1\n1_coffee.png,1\n2_rocket.png,x\n", "'x', and no class id"),
        ("0_cat.png,1\n1_coffee.png,1\n2_rocket.png,-1\n", "'-1', and no class id"),
        (b"\xff\xfe\x00", "labels.csv cannot be read as a table"),
        (None, "labels.csv cannot be read as a table"),
    ],
)
def test_tables_of_labels_that_do_not_fit_are_refused(project, audited, capsys, table, sentence):
    if table is not None:
        content = table if isinstance(table, bytes) else table.encode()
        (project / "labels.csv").write_bytes(content)
    assert sentence in refused(capsys, run("--labels", "labels.csv"))


def test_files_that_are_no_pictures_are_named_and_skipped(project, audited, capsys):
    (project / "pictures" / "notes.txt").write_text("hello")
    (project / "pictures" / ".hidden").write_text("hello")
    (project / "pictures" / "labels.csv").write_text("0_cat.png,1")
    Image.new("1", (10_000, 10_000)).save(project / "pictures" / "map.png")
    assert run() == 1
    assert len(audited["batch"]) == 3
    first, second = capsys.readouterr().err.splitlines()
    assert "map.png" in first
    assert "10000 × 10000 pixels are too many" in first
    assert "skipped pictures/notes.txt cannot be read as a picture" in second


def test_a_model_itself_may_stand_where_its_factory_would(project, audited):
    words = ["audit", "factories_of_a_test:model", "--images", "pictures"]
    assert command.main(words) == 1
    assert isinstance(audited["model"], torch.nn.Sequential)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_loaded(project, audited, prefix):
    from safetensors.torch import save_file

    weights = {f"{prefix}1.weight": torch.ones(12, 192), f"{prefix}1.bias": torch.zeros(12)}
    save_file(weights, project / "weights.safetensors")
    run("--weights", "weights.safetensors")
    assert (audited["model"][1].weight == 1).all()


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({"1.weight": torch.ones(12, 192)}, "missing 1.bias; unknown nothing"),
        (
            {"1.weight": torch.ones(12, 3), "1.bias": torch.zeros(12)},
            "1.weight has the shape (12, 3) there and (12, 192) in the model",
        ),
        (torch.nn.Flatten(), "a pickle can run code"),
        (None, "there is no file weights.pt with weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused(project, audited, capsys, weights, sentence):
    if weights is not None:
        torch.save(weights, project / "weights.pt")
    assert sentence in refused(capsys, run("--weights", "weights.pt"))


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("factories_of_a_test", "names no function; write it as package.module:make_model"),
        ("nothing_of_this_name:make", "No module named 'nothing_of_this_name'"),
        ("broken_for_a_test:make", "broken_for_a_test cannot be imported"),
        ("factories_of_a_test:make_modle", "did you mean make_model?"),
        ("factories_of_a_test:raises", "raised RuntimeError: no weights on this machine"),
        ("factories_of_a_test:exits", "raised SystemExit: 3"),
        ("factories_of_a_test:returns_none", "returned NoneType, where a torch.nn.Module"),
        ("factories_of_a_test:wants_an_argument", "missing 1 required positional argument"),
        ("factories_of_a_test:number", "is int, and no function or model"),
        (":make", "names no function"),
    ],
)
def test_factories_that_make_no_model_are_refused(project, audited, capsys, target, sentence):
    status = command.main(["audit", target, "--images", "pictures", "--html", "audit.html"])
    assert sentence in refused(capsys, status)
    assert not (project / "audit.html").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--steps", "0"], "'0' is no whole number from 1 on"),
        (["--lr", "-1"], "lr is a positive number, got -1.0"),
        (["--clip", "0"], "an update is clipped to a length above zero, got 0.0"),
        (["--size", "0x3"], "'0x3' is no size; write 32x32"),
        (["--size", "4x8x8"], "'4x8x8' is no size; write 32x32"),
        (["--budget", "soon"], "a budget is a time in seconds"),
        (["--fail-on", "everything"], "invalid choice: 'everything'"),
        (["--html", "nowhere/audit.html"], "nowhere/audit.html cannot be written"),
        (["--json", "pictures"], "pictures cannot be written"),
        (["--images", "nowhere"], "there is no folder nowhere"),
        (["--labels", "folders"], "the label of 0_cat.png is 'pictures', and no class id"),
    ],
)
def test_options_that_do_not_fit_are_refused(project, audited, capsys, words, sentence):
    assert sentence in refused(capsys, run(*words))


@pytest.mark.parametrize("words", [[], ["frob"], ["audit"]])
def test_commands_that_say_too_little_are_refused(capsys, words):
    assert "see python -m dlgutils audit --help" in refused(capsys, command.main(words))


def test_folders_without_pictures_or_with_too_many_are_refused(
    project, audited, capsys, monkeypatch
):
    (project / "empty").mkdir()
    sentence = refused(capsys, run("--images", "empty"))
    assert "there is no picture in empty; put the client's pictures there" in sentence
    (project / "empty" / "notes.txt").write_text("no picture")
    assert "no picture in empty, but 1 other file;" in refused(capsys, run("--images", "empty"))
    monkeypatch.setattr(folders, "MOST", 2)
    assert "say how many to take: --first 8" in refused(capsys, run())
    assert run("--first", "3") == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("the model wants\ntwo inputs"), "the model wants two inputs"),
        (RuntimeError("out of memory"), "the audit broke: RuntimeError: out of memory"),
        (KeyboardInterrupt(), "interrupted before there was anything to report"),
    ],
)
def test_an_audit_that_breaks_is_one_sentence_and_no_file(
    project, monkeypatch, capsys, error, sentence
):
    def breaks(*_, **__):
        raise error

    monkeypatch.setattr(command, "audit", breaks)
    assert sentence in refused(capsys, run("--html", "audit.html", "--json", "audit.json"))
    assert {path.name for path in project.iterdir()} >= {"pictures"}
    assert not list(project.glob("*audit*"))


def test_help_says_what_there_is_and_ends_well(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["audit", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--images", "--labels", "--weights", "--fail-on", "exit status"):
        assert option in shown


@pytest.mark.slow
def test_command_runs_from_a_shell(project):
    """Slow, ten seconds: a process that imports torch, and a real audit of two seconds."""
    words = "audit factories_of_a_test:make_model --images pictures --size 8x8 --first 1 --budget 2"
    command = [sys.executable, "-m", "dlgutils", *words.split(), "--html", "audit.html"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("The image is recognisable")
    assert "predictions" in done.stdout  # labels were not given
    assert "<h1>The image is recognisable" in (project / "audit.html").read_text()
