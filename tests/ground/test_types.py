"""The nouns: frozen, and chosen among by the matching loss alone."""

import json
import struct
from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dlgutils import Result, attacks, invert
from dlgutils.types import Candidate

NAN, INF = torch.nan, torch.inf


def result(loss):
    """A result with these losses, whose run k holds an image of value k."""
    loss = torch.tensor(loss)
    x = torch.arange(float(len(loss)))[:, None, None, None, None].expand(-1, 1, 1, 2, 2)
    return Result(
        x,
        torch.zeros(len(loss), 1, dtype=torch.long),
        loss,
        x[None],
        torch.tensor([0]),
        attack="test",
        complete=False,
    )


@pytest.mark.parametrize("field", ["weights", "gradient", "masks"])
def test_shared_is_frozen(tiny, field):
    with pytest.raises(FrozenInstanceError):
        setattr(tiny().shared, field, {})


def test_result_and_attack_are_frozen():
    with pytest.raises(FrozenInstanceError):
        result([[1.0]]).loss = None
    with pytest.raises(FrozenInstanceError):
        attacks.dlg.name = "mine"


def test_a_variant_is_a_changed_copy():
    mine = replace(attacks.idlg, name="mine")
    assert (mine.name, attacks.idlg.name) == ("mine", "iDLG")
    assert mine.distance is attacks.idlg.distance


def test_best_is_the_run_of_the_lowest_loss_it_ever_had():
    best = result([[3.0, 2.0], [1.0, 9.0], [5.0, 4.0]]).best()
    assert best.x.shape == (1, 1, 1, 2, 2)
    assert (best.x == 1).all()


@pytest.mark.parametrize("bad", [NAN, INF])
def test_best_is_never_a_run_without_a_finite_loss(bad):
    assert (result([[bad, bad], [7.0, bad]]).best().x == 1).all()


def test_lowest_is_infinite_where_nothing_was_finite():
    assert result([[NAN, INF], [2.0, NAN]]).lowest.tolist() == [INF, 2.0]


def test_lowest_is_infinite_before_the_first_evaluation():
    assert result([[], []]).lowest.tolist() == [INF, INF]


@pytest.mark.parametrize(("index", "held"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_run_keeps_the_leading_axis(index, held):
    one = result([[1.0]] * 3).run(index)
    assert one.x.shape[0] == one.y.shape[0] == one.loss.shape[0] == one.frames.shape[1] == 1
    assert (one.x == held).all()
    assert (one.attack, one.complete) == ("test", False)


def test_run_keeps_its_seed():
    seeded = replace(result([[1.0]] * 3), seeds=torch.tensor([5, 6, 7]))
    assert seeded.run(1).seeds.tolist() == [6]
    assert result([[1.0]] * 3).run(1).seeds.shape == (0,)


@pytest.mark.parametrize("index", [3, -4])
def test_a_run_that_does_not_exist_is_an_error(index):
    with pytest.raises(IndexError):
        result([[1.0]] * 3).run(index)


def test_a_candidate_without_masks_shares_no_mutable_default():
    with pytest.raises(TypeError):
        Candidate(torch.zeros(1), torch.zeros(1)).masks["mask"] = torch.ones(1)


def assert_same(one, other):
    """Every field the same, to the last bit and NaN included."""
    for name in (f.name for f in fields(Result)):
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, Tensor):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        else:
            assert a == b


def rewritten(path, **changes):
    """The same file with another header: entries changed, or taken out where the change is None."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {
        k: v for k, v in (header["__metadata__"] | changes).items() if v is not None
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return path


def test_a_result_comes_back_as_it_was(tmp_path):
    saved = result([[3.0, NAN], [1.0, INF]])
    saved.save(tmp_path / "result.safetensors")
    assert_same(Result.load(tmp_path / "result.safetensors"), saved)
    assert [path.name for path in tmp_path.iterdir()] == ["result.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_an_attack_found_comes_back(tmp_path, tiny, seeded, dtype):
    model, _, shared, *_ = tiny(batch=2, dtype=dtype)
    saved = invert(model, [shared] * 3, attacks.dlg, seeded(0), steps=3)
    saved.save(tmp_path / "result")
    loaded = Result.load(tmp_path / "result")
    assert_same(loaded, saved)
    assert_same(loaded.best(), saved.best())


def test_views_of_one_memory_can_be_saved(tmp_path):
    x = torch.rand(4, 2, 1, 3, 5).permute(1, 0, 2, 4, 3)
    saved = Result(
        x,
        torch.zeros(2, 4, dtype=torch.int64),
        torch.rand(3, 2).T,
        x[None],
        torch.tensor([0]),
        attack="∇ · é",
    )
    saved.save(tmp_path / "result")
    assert_same(Result.load(tmp_path / "result"), saved)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_result_on_a_gpu_comes_back_on_the_cpu(tmp_path):
    saved = result([[3.0, NAN], [1.0, INF]])
    replace(saved, x=saved.x.cuda(), frames=saved.frames.cuda()).save(tmp_path / "result")
    assert_same(Result.load(tmp_path / "result"), saved)


def test_saving_again_replaces_the_file(tmp_path):
    result([[1.0]]).save(tmp_path / "result")
    first = Result.load(tmp_path / "result")
    result([[2.0]]).save(str(tmp_path / "result"))
    assert Result.load(str(tmp_path / "result")).loss.item() == 2
    assert first.loss.item() == 1


def test_a_file_says_who_wrote_it(tmp_path):
    from safetensors import safe_open

    result([[1.0]]).save(tmp_path / "result")
    with safe_open(tmp_path / "result", "pt") as file:
        assert file.metadata()["torch"] == torch.__version__


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*result to load; save one"):
        Result.load(tmp_path / "result")


@given(share=st.floats(0, 1, exclude_max=True))
def test_half_a_file_is_an_error(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("result") / "result"
    result([[3.0, 2.0], [1.0, 9.0]]).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="result is damaged, or no saved result"):
        Result.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"not tensors at all", b"\0" * 100], ids=["empty", "text", "zeros"]
)
def test_a_file_of_something_else_is_an_error(tmp_path, content):
    (tmp_path / "result").write_bytes(content)
    with pytest.raises(ValueError, match="result is damaged, or no saved result"):
        Result.load(tmp_path / "result")


def test_tensors_of_something_else_are_an_error(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "result")
    with pytest.raises(ValueError, match=r"is no saved result: .*'loss'.* missing or unknown"):
        Result.load(tmp_path / "result")


@pytest.mark.parametrize(
    "changes", [{"attack": None}, {"complete": None}, {"format": None}, {"mine": "1"}], ids=str
)
def test_a_file_with_other_entries_is_an_error(tmp_path, changes):
    result([[1.0]]).save(tmp_path / "result")
    with pytest.raises(ValueError, match=f"is no saved result: .*'{next(iter(changes))}'"):
        Result.load(rewritten(tmp_path / "result", **changes))


def test_another_format_names_the_version_that_reads_it(tmp_path):
    result([[1.0]]).save(tmp_path / "result")
    with pytest.raises(
        ValueError,
        match=r"a result of format 2, this dlgutils reads format 1; install dlgutils 9\.0",
    ):
        Result.load(rewritten(tmp_path / "result", format="2", dlgutils="9.0"))
