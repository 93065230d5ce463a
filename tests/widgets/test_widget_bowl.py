"""The bowl: it opens where its arguments say, and only there."""

import pytest

from dlgutils import widgets


def test_bowl_opens_where_its_arguments_say():
    bowl = widgets.bowl((1.5, -2), scale=1e-3, condition=100)
    assert (bowl.across, bowl.up) == (1.5, -2)
    assert (bowl.scale_power, bowl.condition_power) == (-3, 2)


def test_bowl_is_printed_in_words():
    words = "Bowl, searched from (-6, 2), scale 1e+00, condition number 10"
    assert repr(widgets.bowl()) == words


@pytest.mark.parametrize(
    ("name", "range_", "arguments"),
    [
        ("start", "-8 to 8, got 9", {"start": (0, 9)}),
        ("scale", "1e-08 to 100, got 0", {"scale": 0}),
        ("condition", "1 to 100, got 0.5", {"condition": 0.5}),
    ],
    ids=["start", "scale", "condition"],
)
def test_bowl_refuses_what_its_sliders_cannot_show(name, range_, arguments):
    with pytest.raises(ValueError, match=f"a bowl take a {name} from {range_}"):
        widgets.bowl(**arguments)
