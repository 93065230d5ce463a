"""The experiments on trained networks run, on a few images and evaluations, and count well."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from dlgutils import attacks, data
from reproduce import feature_matching, inputs, trained, trained_networks
from reproduce.inputs import all_images
from reproduce.other_networks import OTHERS
from tools.chapters import chapters


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Networks, sweeps and tables are written into a folder of the test."""
    monkeypatch.chdir(tmp_path)
    for module in (trained_networks, feature_matching):
        monkeypatch.setattr(module, "FOLDER", tmp_path / module.__name__)
    monkeypatch.setattr(trained, "RUNS", tmp_path / "runs.csv")
    for module in (trained, feature_matching):
        monkeypatch.setattr(module, "TABLE", tmp_path / f"{module.__name__}.csv")


@pytest.fixture
def short(monkeypatch):
    """Searches of few evaluations, on two images a block."""
    monkeypatch.setattr(trained, "EVALUATIONS", dict.fromkeys(trained.EVALUATIONS, 3))
    monkeypatch.setattr(trained, "size_of_block", lambda *_: 2)


def test_blocks_are_all_different_and_small_tables_are_complete_first():
    blocks = list(trained.blocks(("fruits", "fashion")))
    assert len(set(blocks)) == len(blocks)
    settings = len(trained.PAIRS) * len(trained.SEEDS) * len(trained.EPOCHS) * 2
    assert {block.number for block in blocks[:settings]} == {0}
    for attack, network in trained.PAIRS:
        of_one = [b for b in blocks if (b.attack, b.network) == (attack, network)]
        images = {row for block in of_one for row in block.rows}
        assert images == set(range(trained.IMAGES))


@pytest.mark.parametrize(("attack", "network"), trained.PAIRS[:-1])  # the last one takes a minute
def test_a_block_has_a_row_for_each_image(attack, network, short):
    block = trained.Block(attack, network, "fashion", 0, 1, 0)
    table = trained.measured(block)
    assert list(table["image"]) == [0, 1]
    assert table["mse"].between(0, 1).all()
    assert set(table["label_right"]) == {1}
    assert (table["mse"] < 1e-6).all() == (attack == "closed form")
    assert set(table["network"]) == {network}
    assert table["held_out_accuracy"].between(0, 1).all()


def test_seeds_have_images_of_their_own_that_no_network_has_seen(short, monkeypatch):
    secrets = []
    monkeypatch.setattr(trained, "scores", lambda _, secret, __: secrets.append(secret) or {})
    for seed in (0, 1):
        trained.measured(trained.Block("iDLG", "LeNet, sigmoid", "fruits", 0, seed, 0))
    x = torch.cat([secret.x for secret in secrets])
    fruits = all_images("fruits").x
    seen = fruits[trained_networks.order()[: trained_networks.SEEN["fruits"]]]
    assert len(x.flatten(1).unique(dim=0)) == 4
    assert torch.cdist(x.flatten(1), seen.flatten(1)).min() > 0.1


def test_other_sets_come_from_torchvision_and_are_held_out(short, monkeypatch):
    few = all_images("fruits")
    monkeypatch.setattr(inputs.data, "torchvision_set", lambda name, _: few)
    table = trained.measured(trained.Block("iDLG", "LeNet, sigmoid", "SVHN", 0, 0, 0))
    assert len(table) == 2
    assert len(trained_networks.held_out("SVHN")) == len(few.x) - 1000


def test_summary_counts_with_intervals():
    setting = {"images": "fruits", "network": "CNN", "attack": "iDLG", "epochs": 3}
    measures = {"identified": 1, "label_right": 0, "seconds": 2.0}
    accuracies = {"seen_accuracy": 0.9, "held_out_accuracy": 0.6}
    rows = []
    for seed, mse, ssim in ((0, 0.009, 0.5), (0, 0.01, 0.49), (1, 0.5, 0.1)):
        row = {"seed": seed, "mse": mse, "ssim": ssim}
        rows.append({**setting, **row, **measures, **accuracies})
    found = trained.summary(pd.DataFrame(rows)).iloc[0]
    assert (found["seeds"], found["runs"]) == (2, 3)
    assert (found["recovered"], found["recognisable"], found["identified"]) == (1, 1, 3)
    assert found["labels_right"] == 0
    assert found["recovered_low"] < 1 / 3 < found["recovered_high"]
    assert found["median_mse"] == 0.01


def test_main_writes_what_it_has_and_goes_on(short, monkeypatch, capsys):
    monkeypatch.setattr(trained, "EPOCHS", (0,))
    monkeypatch.setattr(trained, "SEEDS", (0,))
    monkeypatch.setattr(trained, "IMAGES", 2)
    monkeypatch.setattr(trained, "size_of_block", lambda *_: 1)
    monkeypatch.setattr(trained, "PAIRS", (("iDLG", "LeNet, sigmoid"),))
    monkeypatch.setattr(trained.joblib, "Parallel", lambda **_: one_after_another)
    trained.main("fashion")
    table = pd.read_csv(trained.TABLE)
    assert table[["images", "runs", "seeds"]].values.tolist() == [["fashion", 2, 1]]
    first, last = trained.blocks(("fashion",))
    runs = trained.kept()
    assert list(runs["number"]) == [first.number, last.number]
    trained.write(runs[:1], trained.RUNS)
    capsys.readouterr()
    trained.main("fashion")
    assert capsys.readouterr().out == "iDLG LeNet, sigmoid fashion 0 0 1\n"
    pd.testing.assert_frame_equal(
        table.drop(columns="median_seconds"),
        pd.read_csv(trained.TABLE).drop(columns="median_seconds"),
    )


def one_after_another(calls):
    """What `joblib.Parallel` returns, in this process, where the monkeypatches are."""
    return (function(*args) for function, args, _ in calls)


def test_committed_table_counts_the_committed_runs():
    committed = Path(trained.__file__).with_name("trained_runs.csv")
    counted = trained.summary(pd.read_csv(committed)).reset_index(drop=True)
    table = data.table("trained")
    for column in ("images", "network", "attack", "epochs", "runs", "recovered", "identified"):
        assert list(counted[column]) == list(table[column])


def test_chapter_quotes_the_committed_table():
    (chapter,) = [found for found in chapters() if found.name.startswith("09_")]
    prose = " ".join(cell.text for cell in chapter.main if cell.kind == "markdown")
    table = data.table("trained").set_index(["images", "network", "attack"])

    features = table.loc["fruits", "CNN", "features"].set_index("epochs")
    (images,) = set(features["runs"])
    first, last = features["recovered"][[0, 80]]
    assert f"on fruits from {first} to {last} of {images}" in prose
    search = table.loc["fruits", "CNN", "iDLG"].set_index("epochs").loc[3:]
    assert (search["recovered"] < 0.05 * search["runs"]).all()
    relu = table.loc["fruits", "LeNet, ReLU", "features"].set_index("epochs").loc[3:]
    assert (relu["recovered"] / relu["runs"]).between(0.28, 0.55).all()
    assert "a third to a half of the fruits once it is trained" in prose
    sigmoid = table.loc["fruits", "LeNet, sigmoid", "closed form"]
    assert set(sigmoid["recovered"]) == set(sigmoid["runs"]) == {120}
    assert "120 of 120 with sigmoids at each stage" in prose
    found, images = table.loc["fruits", "LeNet, ReLU", "closed form"][["recovered", "runs"]].sum()
    assert f"{found} of {images} with ReLU over all stages" in prose


def test_attacks_on_features_are_compared_on_the_same_images(monkeypatch):
    names = ("Flower quick start", 0)
    monkeypatch.setattr(feature_matching, "IMAGES", 2)
    rows = [feature_matching.Setting(*names, attack, 3) for attack in feature_matching.ATTACKS]
    monkeypatch.setattr(feature_matching, "SETTINGS", rows)
    feature_matching.main("Flower quick start")
    table = pd.read_csv(feature_matching.TABLE)
    assert list(table["attack"]) == list(feature_matching.ATTACKS)
    assert set(table["images"]) == {2}
    assert table["held_out_accuracy"].nunique() == 1
    pictures = list(rows[0].folder.with_suffix(".pictures").iterdir())
    assert len(pictures) == 2
    monkeypatch.setattr(feature_matching, "ATTACKS", {})
    feature_matching.main("nothing")
    pd.testing.assert_frame_equal(table, pd.read_csv(feature_matching.TABLE))


def test_rows_of_settings_that_are_not_here_are_kept(monkeypatch):
    first, second, third = feature_matching.SETTINGS[:3]
    old = pd.DataFrame([{**row._asdict(), "recovered": 1} for row in (first, third)])
    old.to_csv(feature_matching.TABLE, index=False)
    new = pd.DataFrame([{**row._asdict(), "recovered": 2} for row in (third, second)])
    merged = feature_matching.with_kept(new)
    assert [tuple(row) for row in merged.itertuples(index=False)] == [
        (*first, 1),
        (*second, 2),
        (*third, 2),
    ]


def test_published_budget_is_that_of_inverting_gradients():
    published = [s for s in feature_matching.SETTINGS if s.evaluations == 24_000]
    assert {setting.attack for setting in published} == {"Inverting Gradients"}
    assert feature_matching.ATTACKS["Inverting Gradients"] is attacks.inverting


@pytest.mark.parametrize("name", ["Flower quick start", "ResNet-18"])
def test_other_networks_are_kept_with_their_statistics(name, monkeypatch):
    assert name in OTHERS
    monkeypatch.setattr(trained_networks, "SEEN", {"fruits": 50})
    training = trained_networks.Training(name, seed=3)
    once = trained_networks.trained(training, 1)
    again = trained_networks.trained(training, 1)
    fresh = trained_networks.build(training)
    for key, tensor in once.state_dict().items():
        assert tensor.equal(again.state_dict()[key])
    changed = [not t.equal(once.state_dict()[key]) for key, t in fresh.state_dict().items()]
    assert all(changed)
    assert once(torch.zeros(2, 3, 32, 32)).shape == (2, 14)
