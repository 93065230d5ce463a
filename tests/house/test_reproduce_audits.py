"""The audits of torchvision's networks: a row for each, and the committed table as it was made."""

import pandas as pd
import torch

from dlgutils import data
from reproduce import audits


def test_network_has_seen_images_and_is_the_same_again(monkeypatch):
    monkeypatch.setattr(audits, "SEEN", 1)
    before = torch.get_rng_state()
    first, second = (audits.network("shufflenet_v2_x0_5") for _ in range(2))
    assert torch.get_rng_state().equal(before)
    assert not any(module.training for module in first.modules())
    tensors = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(one.equal(other) for one, other in tensors)
    assert first.conv1[1].running_mean.any()


def test_main_writes_a_row_for_each_audit(monkeypatch, tmp_path):
    monkeypatch.setattr(audits, "BUDGET", 2)
    monkeypatch.setattr(audits, "NETWORKS", {"small ViT": audits.small_vit})
    monkeypatch.setattr(audits, "TABLE", tmp_path / "audits.csv")
    audits.main()
    table = pd.read_csv(audits.TABLE)
    assert list(table) == list(audits.COLUMNS)
    assert list(table["protocol"]) == list(audits.PROTOCOLS)
    assert list(table["labels"].iloc[:1]) == [1]


def test_committed_table_has_all_audits():
    table = data.table("audits")
    assert list(table) == list(audits.COLUMNS)
    assert list(table["network"].unique()) == list(audits.NETWORKS)
    assert len(table) == len(audits.NETWORKS) * len(audits.PROTOCOLS)
    assert (table["labels"] <= table["images"]).all()
    assert table["failed"].isna().all()
