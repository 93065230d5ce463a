"""What six networks of torchvision give away of one photograph, and of four: audits of a minute.

The networks have the weights that torchvision draws, of seed 0, and ten classes. Their BatchNorm
layers have seen fruits in train mode, as those of any network that was trained have; the audit is
in eval mode. The photographs are of 32×32 pixels, of one client, who sends the gradient; and once
more one photograph behind clipping and noise.

`python -m reproduce.audits` writes audits.csv, a row for each network and protocol, in half an hour
of one core. Seconds are those of the machine that made the table, and what a search reaches in its
minute depends on them.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Generator, nn
from torchvision import models as vision
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import data
from dlgutils.federated import defenses
from reproduce.tables import COMMITTED, write_table

TABLE = COMMITTED / "audits.csv"
BUDGET = 60.0
CLASSES, SIZE = 10, 32
SEEN = 8
"""Batches of 32 fruits that BatchNorm layers have seen."""

DEFENCES = (defenses.clip(1.0), defenses.noise(0.01))
PROTOCOLS = {"1 image": (1, ()), "4 images": (4, ()), "1 image, defended": (1, DEFENCES)}


def small_vit() -> nn.Module:
    """A vision transformer of three layers, for 32×32 pixels in patches of 8×8."""
    return vision.VisionTransformer(
        image_size=SIZE,
        patch_size=8,
        num_layers=3,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=CLASSES,
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: vision.resnet18(num_classes=CLASSES),
    "mobilenet_v3_small": lambda: vision.mobilenet_v3_small(num_classes=CLASSES),
    "shufflenet_v2_x0_5": lambda: vision.shufflenet_v2_x0_5(num_classes=CLASSES),
    "squeezenet1_1": lambda: vision.squeezenet1_1(num_classes=CLASSES),
    "efficientnet_b0": lambda: vision.efficientnet_b0(num_classes=CLASSES),
    "small ViT": small_vit,
}
COLUMNS = (
    "network",
    "numbers",
    "protocol",
    "images",
    "labels",
    "recognisable",
    "identified",
    "mse",
    "baseline_mse",
    "best",
    "leaks",
    "not_reached",
    "failed",
    "seconds",
)


def network(name: str) -> nn.Module:
    """A network with the weights of seed 0, whose BatchNorm layers have seen images; eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = NETWORKS[name]()
        images = data.fruits().x
        order = torch.randperm(len(images), generator=Generator().manual_seed(0))
        with torch.no_grad():
            for part in order[: 32 * SEEN].split(32):
                model.train()(images[part])
    return model.eval()


def measure(name: str, protocol: str) -> dict[str, Any]:
    """The row of one audit."""
    images, row = PROTOCOLS[protocol]
    batch = du.Batch(*(part[:images] for part in data.photos(size=SIZE)))
    model = network(name)
    report = du.audit(model, batch, defenses=row, budget=BUDGET)
    return {
        "network": name,
        "numbers": sum(p.numel() for p in model.parameters()),
        "protocol": protocol,
        "images": images,
        **summary(report),
    }


def summary(report: du.auditing.Report) -> dict[str, Any]:
    """What a report comes to: counts of the attacker's best, and the probes by their verdicts."""
    best = None if report.best is None else report.findings[report.best]
    scores = best and best.scores
    labels = [each.labels.successes for each in report.findings if is_label(each)]
    return {
        "labels": max(labels, default=0),
        "recognisable": scores.recognisable.successes if scores else 0,
        "identified": scores.identified.successes if scores and scores.identified else "",
        "mse": round(scores.mse, 5) if scores else "",
        "baseline_mse": round(scores.baseline_mse, 5) if scores else "",
        "best": best.probe if best else "",
        "leaks": named(report.findings, "leak"),
        "not_reached": named(report.findings, "not reached"),
        "failed": named(report.findings, "failed"),
        "seconds": round(report.seconds, 1),
    }


def is_label(finding: du.auditing.Finding) -> bool:
    """Whether a finding is a leak that names labels."""
    return finding.labels is not None and finding.verdict == "leak"


def named(findings: Sequence[du.auditing.Finding], verdict: str) -> str:
    """The probes of one verdict, as text."""
    return ", ".join(finding.probe for finding in findings if finding.verdict == verdict)


def rows() -> Iterator[dict[str, Any]]:
    """The rows of all networks and protocols, with a progress bar."""
    cells = [(name, protocol) for name in NETWORKS for protocol in PROTOCOLS]
    for name, protocol in tqdm(cells, desc="audits", file=sys.stderr):
        yield measure(name, protocol)


def main() -> None:
    """Write the whole table."""
    torch.set_num_threads(1)
    write_table(TABLE, COLUMNS, rows())


if __name__ == "__main__":
    main()
