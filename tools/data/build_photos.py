"""Build photos32.npz and photos64.npz from images in scikit-image, scikit-learn and matplotlib.

Their wheels hold the images: nothing is downloaded.

python tools/data/build_photos.py dlgutils/images
"""

import sys

import numpy as np
import skimage.data as sk
from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_image

hopper = np.asarray(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))
# name, array, square crops (left, top, side), origin and licence as stated by the package
S = [
    (
        "astronaut",
        sk.astronaut(),
        [(60, 0, 340), (150, 10, 160)],
        "skimage.data.astronaut: NASA, Eileen Collins, public domain",
    ),
    (
        "cat",
        sk.cat(),
        [(75, 0, 300), (90, 20, 250)],
        "skimage.data.cat: Chelsea, Stefan van der Walt, CC0",
    ),
    (
        "coffee",
        sk.coffee(),
        [(130, 20, 370), (100, 0, 400)],
        "skimage.data.coffee: Rachel Michetti / Pikolo Espresso Bar, CC0",
    ),
    (
        "rocket",
        sk.rocket(),
        [(106, 0, 427), (200, 130, 290)],
        "skimage.data.rocket: SpaceX DSCOVR launch, public domain",
    ),
    (
        "flower",
        load_sample_image("flower.jpg"),
        [(150, 60, 350), (106, 0, 427)],
        "sklearn flower.jpg: flickr.com/photos/vultilion, CC BY 2.0",
    ),
    (
        "pagoda",
        load_sample_image("china.jpg"),
        [(60, 40, 340), (0, 0, 427)],
        "sklearn china.jpg: flickr.com/photos/danielbuechele, CC BY 2.0",
    ),
    (
        "retina",
        sk.retina(),
        [(0, 0, 1411), (200, 400, 700)],
        "skimage.data.retina: Mikael Haggstrom, CC0",
    ),
    (
        "shuttle",
        sk.astronaut(),
        [(330, 0, 182), (360, 20, 152)],
        "crop of skimage.data.astronaut: NASA, public domain",
    ),
    (
        "camera",
        sk.camera(),
        [(120, 40, 250), (100, 0, 400)],
        "skimage.data.camera: Lav Varshney, CC0 (grey)",
    ),
    (
        "admiral",
        hopper,
        [(60, 0, 420), (120, 20, 300)],
        "matplotlib grace_hopper.jpg: U.S. Navy, public domain",
    ),
    (
        "horse",
        (sk.horse() * 255).astype("uint8"),
        [(36, 0, 328), (60, 0, 300)],
        "skimage.data.horse: Andreas Preuss, openclipart, CC0 (silhouette)",
    ),
    (
        "tissue",
        sk.immunohistochemistry(),
        [(0, 0, 512), (256, 0, 256)],
        "skimage.data.immunohistochemistry: CMMI, no known copyright restrictions",
    ),
]
for n in (32, 64):
    X, y = [], []
    for k, (name, a, crops, _src) in enumerate(S):
        im = Image.fromarray(a).convert("RGB")
        for left, top, side in crops:
            assert left + side <= im.width, (name, im.size)
            assert top + side <= im.height, (name, im.size)
            X.append(
                np.asarray(im.crop((left, top, left + side, top + side)).resize((n, n), Image.BOX))
            )
            y.append(k)
    np.savez_compressed(
        f"{sys.argv[1]}/photos{n}.npz",
        images=np.stack(X),
        labels=np.array(y, np.uint8),
        class_names=np.array([s[0] for s in S]),
        sources=np.array([s[3] for s in S]),
    )
print(len(X), len(S))
