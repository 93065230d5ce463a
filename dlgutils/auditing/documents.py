"""A report as plain values: what its JSON holds, and what text and page are written from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from typing import Any

import torch

from dlgutils import metrics, storage
from dlgutils.auditing import inputs, verdicts
from dlgutils.auditing.likeness import likeness
from dlgutils.types import Batch

VERSION = 1
"""Of the schema: another number for a document that readers of this one would misread."""
SECRETS = ("truth", "found")  # fields of images, which a document leaves out


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of `Report.to_json`: every field with its meaning."""
    path = resources.files("dlgutils.auditing") / "static" / "schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


def document(record: object, truth: Batch, found: Sequence[Batch | None]) -> dict[str, Any]:
    """A report as plain values, with its verdict.

    record: the report. truth: what the client had. found: by each of its findings, in order.
    """
    body = plain(record)
    for finding, batch in zip(body["findings"], found, strict=True):
        finding["images"] = [] if batch is None else compared(batch, truth)
    return {
        "schema": VERSION,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": storage.versions(),
        "verdict": verdicts.sentence(body, len(truth.x)),
        "leaks": verdicts.leaks(body),
        "clearest": verdicts.clearest(body),
        "shape": list(truth.x.shape),
        **body,
    }


def as_json(document: Mapping[str, Any]) -> str:
    """A document as text, indented, with a final newline."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Records as dicts of their fields, without images; of masks the names; no infinity."""
    if is_dataclass(value):
        pairs = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: plain(part) for name, part in pairs.items() if name not in SECRETS}
    if isinstance(value, metrics.Rate):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return list(value)
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def compared(found: Batch, truth: Batch) -> list[dict[str, Any]]:
    """Each image that was found beside its truth: SSIM, MSE, and the two labels."""
    like = likeness(found.x.detach().to(truth.x), truth.x)
    columns = {
        "ssim": like.ssim.tolist(),
        "mse": like.mse.tolist(),
        "recognisable": like.recognisable.tolist(),
        "label": class_ids(truth),
        "label_read": class_ids(found),
    }
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, map(plain, row), strict=True)) for row in rows]


def class_ids(batch: Batch) -> list[int | None]:
    """The class of each image: its id, the likeliest of probabilities; None: nobody knows."""
    y = inputs.class_ids(batch.y)
    if y is None:
        return [None] * len(batch.x)
    return [label if label >= 0 else None for label in y.tolist()]
