"""Checkpoints: whole or not there, verified when read, and restored to other devices."""

import chex
import jax
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.training import checkpoints
from jaxcnn.training.checkpoint_reading import read_variables
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.layouts import JitLayout, PmapLayout
from jaxcnn.training.split import Split

TREE = {
    "step": np.int32(3),
    "params": {"conv1_1": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}},
    "batch_stats": {"bn1_1": {"mean": np.arange(4, dtype=np.float32)}},
    "ema": None,
}


def layout(kind=JitLayout, devices=8, *split):
    return kind(tuple(jax.devices()[:devices]), *split)


def save(folder, steps=(1, 2), *, keep=2, place=None):
    place = place or layout()
    store = Checkpoints(folder, keep=keep)
    for step in steps:
        tree = TREE | {"step": np.int32(step)}
        store.save(step, place.to_mesh(place.distribute(tree)), {"config": {"seed": step}})
    store.wait()
    return store


def like(place):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        place.to_mesh(place.distribute(TREE)),
    )


def test_what_was_saved_comes_back(tmp_path):
    store = save(tmp_path)
    place = layout()
    assert store.newest_sound() == (2, [])
    restored = place.fetch(store.restore(2, like(place)))
    chex.assert_trees_all_equal(restored, TREE | {"step": np.int32(2)})
    meta = store.meta(2)
    assert meta["config"] == {"seed": 2}
    assert meta["format_version"] == checkpoints.FORMAT_VERSION
    store.close()


HALVES = Split("params/.*", parts=2)


@pytest.mark.parametrize(
    "saved", [(JitLayout, 8), (PmapLayout, 4), (JitLayout, 1), (JitLayout, 4, HALVES)]
)
@pytest.mark.parametrize(
    "now", [(JitLayout, 1), (PmapLayout, 8), (JitLayout, 2), (JitLayout, 2, HALVES)]
)
def test_it_comes_back_to_the_devices_there_are_now(saved, now, tmp_path):
    store = save(tmp_path, place=layout(*saved))
    place = layout(*now)
    restored = place.from_mesh(store.restore(2, like(place)))
    kernel = restored["params"]["conv1_1"]["kernel"]
    assert (kernel.addressable_shards[0].data.shape == (2, 3, 2)) == (HALVES in now)
    assert {d for x in jax.tree.leaves(restored) for d in x.devices()} == set(place.devices)
    chex.assert_trees_all_equal(place.fetch(restored), TREE | {"step": np.int32(2)})
    store.close()


def test_the_oldest_go(tmp_path):
    store = save(tmp_path, steps=(1, 2, 3, 4), keep=2)
    assert store.steps() == [3, 4]
    store.drop_after(3)
    assert store.steps() == [3]
    store.close()


def test_a_step_is_not_saved_twice(tmp_path):
    store = save(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    store.save(2, layout().replicate(TREE), {})
    store.wait()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    store.close()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"params": {"conv1_1": {"kernel": np.zeros((2, 3, 5), np.float32)}}}, "kernel"),
        ({"params": {"conv1_2": {"kernel": np.zeros((2, 3, 4), np.float32)}}}, "conv1_1"),
    ],
)
def test_another_networks_state_is_refused(other, word, tmp_path):
    store = save(tmp_path)
    place = layout()
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        place.replicate(TREE | other),
    )
    with pytest.raises(UserError, match=f"another network or optimizer .*{word}"):
        store.restore(2, target)
    store.close()


def test_the_variables_of_an_earlier_run(tmp_path):
    with pytest.raises(UserError, match="no whole checkpoint"):
        read_variables(tmp_path)
    save(tmp_path / "checkpoints").close()
    variables = {"params": TREE["params"], "batch_stats": TREE["batch_stats"]}
    chex.assert_trees_all_equal(read_variables(tmp_path), variables)
    for path in (tmp_path / "checkpoints" / "2" / "state").rglob("*"):
        if path.is_file():
            flip(path)
    chex.assert_trees_all_equal(read_variables(tmp_path), variables)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    store = save(tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store._writer, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        store.save(3, layout().replicate(TREE), {})
    assert store.newest_sound() == (2, [])
    store.close()
