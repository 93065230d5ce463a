"""Real images as tensors in [0, 1], and the tables of long experiments."""

from dlgutils.data.embedded import class_names, fashion, fruits, photos
from dlgutils.data.pictures import picture
from dlgutils.data.tables import read_table, table, table_pictures
from dlgutils.data.torchvision_sets import torchvision_set

__all__ = [
    "class_names",
    "fashion",
    "fruits",
    "photos",
    "picture",
    "read_table",
    "table",
    "table_pictures",
    "torchvision_set",
]
