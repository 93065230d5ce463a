"""Images by name and in [0, 1], with their licences; the committed tables."""

from importlib import resources

import pytest
import torch

from dlgutils import data, metrics


@pytest.mark.parametrize(
    ("batch", "shape", "classes"),
    [
        (data.photos(), (12, 3, 32, 32), 12),
        (data.photos(size=64), (12, 3, 64, 64), 12),
        (data.fruits(), (1393, 3, 32, 32), 14),
        (data.fashion(), (200, 1, 28, 28), 10),
    ],
    ids=["photos", "photos64", "fruits", "fashion"],
)
def test_embedded_images_have_shape_range_and_all_classes(batch, shape, classes):
    assert batch.x.shape == shape
    assert (batch.x.dtype, batch.y.dtype) == (torch.float32, torch.int64)
    assert batch.x.min() >= 0
    assert 0.9 < batch.x.max() <= 1
    assert batch.y.unique().tolist() == list(range(classes))


def test_photos_go_by_their_names():
    names = data.class_names("photos")
    assert len(set(names)) == 12
    for label, name in enumerate(names):
        x, y = data.photos(name)
        assert x.shape == (1, 3, 32, 32)
        assert y.tolist() == [label]
        assert x.equal(data.photos().x[label : label + 1])


def test_photos_come_in_the_order_asked_for():
    both = data.photos("rocket", "cat")
    names = data.class_names("photos")
    assert both.x[1:].equal(data.photos("cat").x)
    assert both.y.tolist() == [names.index("rocket"), names.index("cat")]


@pytest.mark.parametrize("size", [32, 64])
def test_photos_have_two_different_crops_of_the_same_thing(size):
    wide = data.photos(size=size, crop=0)
    close = data.photos(size=size, crop=1)
    assert wide.y.equal(close.y)
    errors = ((wide.x - close.x) ** 2).mean((1, 2, 3))
    assert errors.min() > 1e-3


def test_photos_show_the_same_in_both_sizes():
    large = torch.nn.functional.avg_pool2d(data.photos(size=64).x, 2)
    assert ((large - data.photos().x) ** 2).mean() < 5e-3


def test_photos_may_be_changed_without_changing_the_next():
    data.photos("cat").x.zero_()
    assert data.photos("cat").x.any()


def test_photos_list_the_known_names_when_one_is_unknown():
    with pytest.raises(ValueError, match=r"(?s)called dog, kat; there are.*cat.*pagoda"):
        data.photos("kat", "cat", "dog")


@pytest.mark.parametrize("options", [{"size": 28}, {"crop": 2}, {"crop": -1}])
def test_photos_name_the_known_sizes_and_crops(options):
    with pytest.raises(ValueError, match=r"sizes 32 and 64 and crops 0 and 1, got"):
        data.photos("cat", **options)


@pytest.mark.parametrize(("name", "classes"), [("photos", 12), ("fruits", 14), ("fashion", 10)])
def test_class_names_are_one_for_each_class(name, classes):
    assert len(set(data.class_names(name))) == classes


def test_class_names_list_the_known_sets_when_one_is_unknown():
    with pytest.raises(ValueError, match=r"called 'cifar'; there are photos, fruits, fashion"):
        data.class_names("cifar")


@pytest.mark.parametrize("file", ["DATA-LICENSES.md", "LICENSE-grocery.txt"])
def test_licences_lie_beside_the_arrays(file):
    path = resources.files("dlgutils") / "images" / file
    assert "MIT" in path.read_text(encoding="utf-8")


def test_licences_name_every_array():
    images = resources.files("dlgutils") / "images"
    text = (images / "DATA-LICENSES.md").read_text(encoding="utf-8")
    arrays = [path.name for path in images.iterdir() if path.suffix == ".npz"]
    stems = [name.removesuffix(".npz").rstrip("0123456789") for name in arrays]
    assert stems
    assert all(stem in text for stem in stems)


def test_table_is_what_the_scripts_write():
    table = data.table("dropout_run")
    assert list(table.columns[:5]) == ["init", "images", "rate", "attacker", "evaluation"]
    assert set(table["init"]) == {"default", "wide"}
    assert (table["recognisable"] <= table["runs"]).all()


def test_table_of_the_dropout_run_holds_the_claims_of_chapter_4():
    table = data.table("dropout_run")
    table = table.drop_duplicates(["init", "images", "rate", "attacker"])
    assert set(table["runs"]) == {20}
    with_dropout = table[table["rate"] > 0].set_index("attacker")
    found = with_dropout["recognisable"]
    assert (found["mask reading"] == 20).all()
    naive = [name for name in found.index.unique() if name not in ("mask reading", "DIA")]
    assert len(naive) >= 3
    assert (found[naive] == 0).all()
    without = table[table["rate"] == 0].set_index("attacker")
    assert (without["recognisable"]["eval mode"] == 20).all()


def test_table_of_the_separation_holds_the_map_of_its_chapter():
    table = data.table("separation")
    assert (table["certified"] == table["right"]).all()
    assert (table["p"] > 0).all()
    full = table["right"] == table["rounds"]
    easy = (table["batch"] <= 32) | (table["features"] == 4096)
    assert full[easy].all()
    hard = table[~full][["p", "batch"]]
    assert hard.to_numpy().tolist() == [[0.1, 64], [0.5, 64]]


def test_table_of_batches_holds_the_counts_of_its_chapter():
    table = data.table("batches").set_index(["batch", "attacker"])
    found = table["below_1e-2"]
    assert (found[8, "no dropout"], found[8, "labels and masks"]) == (14, 32)


def test_table_lists_the_known_names_when_one_is_unknown():
    with pytest.raises(
        ValueError, match=r"no committed table is called 'papers'; there are .*dropout_run"
    ):
        data.table("papers")


def test_pictures_of_the_defences_fit_their_table():
    table, pictures = data.table("defenses"), data.table_pictures("defenses")
    names = table["defense"].unique()
    secrets = pictures.pop("secrets")
    assert set(pictures) == set(table["stage"])
    for found in pictures.values():
        assert found.shape == (len(names), *secrets.shape)
        assert 0 <= found.min() < found.max() <= 1


def test_pictures_of_the_defences_are_those_of_the_best_attackers():
    table, pictures = data.table("defenses"), data.table_pictures("defenses")
    best = table[table["best"] & (table["stage"] == "trained")].set_index("defense")
    assert best["attacker"]["none"] == "closed form"
    where = list(best.index).index("none")
    assert metrics.mse(pictures["trained"][where], pictures["secrets"]).max() < 1e-3


def test_a_table_without_pictures_is_refused():
    with pytest.raises(ValueError, match=r"no table with pictures is called 'batches'; .*defenses"):
        data.table_pictures("batches")
