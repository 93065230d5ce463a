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
from dlgutils.auditing import verdicts
from dlgutils.types import Batch

VERSION = 1
"""Of the schema: another number for a document that readers of this one would misread."""
SECRETS = ("truth", "found")  # fields of images, which a document leaves out
RECOGNISABLE = 0.5  # the SSIM from which an image is called recognisable

Document = Mapping[str, Any]
"""A report as `schema` describes it: dicts, lists, text, numbers, None."""


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
        "shape": list(truth.x.shape),
        **body,
    }


def as_json(document: Document) -> str:
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
    with torch.no_grad():
        ssim = metrics.ssim(found.x.float(), truth.x.float()).tolist()
        mse = metrics.mse(found.x.float(), truth.x.float()).tolist()
    labels = zip(class_ids(truth), class_ids(found), strict=True)
    images = []
    for similar, error, (label, read) in zip(ssim, mse, labels, strict=True):
        images.append(
            {
                "ssim": plain(similar),
                "mse": plain(error),
                "recognisable": similar >= RECOGNISABLE,
                "label": label,
                "label_read": read,
            }
        )
    return images


def class_ids(batch: Batch) -> list[int | None]:
    """The class of each image: its id, the likeliest where there are probabilities, or None."""
    if batch.y is None:
        return [None] * len(batch.x)
    y = batch.y if batch.y.ndim == 1 else batch.y.argmax(-1)
    return [int(label) for label in y]
