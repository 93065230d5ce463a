"""What a gradient gives away without any search: labels, masks, features, and the image itself."""

from dlgutils.analytic import closed_form, features, labels, masks, separation

__all__ = ["closed_form", "features", "labels", "masks", "separation"]
