"""Build fashion200.npz, 20 test images per class, from Debian's package dataset-fashion-mnist.

Fashion-MNIST is by Zalando SE (MIT licence).

python tools/data/build_fashion.py /usr/share/datasets/fashion-mnist dlgutils/images
"""

import gzip
import sys
from pathlib import Path

import numpy as np

NAMES = "T-shirt Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Boot".split()  # noqa: SIM905

folder, out = map(Path, sys.argv[1:3])
images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)
y = np.frombuffer(labels, np.uint8, offset=8)
chosen = np.concatenate([np.flatnonzero(y == c)[:20] for c in range(10)])
np.savez_compressed(
    out / "fashion200.npz", images=x[chosen], labels=y[chosen], class_names=np.array(NAMES)
)
