"""One training, laid over devices in every way there is: the same numbers come out."""

import chex
import jax
import numpy as np
import pytest
from layout_training import assert_same_training, train, train_in_processes

from jaxcnn.errors import UserError
from jaxcnn.training.devices import JitLayout, ParallelConfig, PmapLayout, make_layout


@pytest.fixture(scope="module")
def one_device():
    return train(make_layout(ParallelConfig(devices=1)))


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_train_as_one(mode, one_device):
    assert_same_training(train(make_layout(ParallelConfig(mode=mode))), one_device)


@pytest.mark.full
def test_fully_connected_layers_split_over_four_devices_train_as_one(one_device):
    layout = make_layout(ParallelConfig(model=4, split="fc.*"))
    assert_same_training(train(layout), one_device)


@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.full)])
def test_two_runs_of_a_kind_agree_to_the_bit(mode):
    layout = make_layout(ParallelConfig(mode=mode))
    chex.assert_trees_all_equal(train(layout, steps=5), train(layout, steps=5))


def test_the_comparison_has_power(one_device):
    """What is forgotten most easily under pmap: statistics and masks of the device's own share."""
    own_share = train(make_layout(ParallelConfig(mode="pmap")), axis_name=None)
    with pytest.raises(AssertionError):
        assert_same_training(own_share, one_device)
    difference = jax.tree.map(lambda a, b: abs(a - b).max(), own_share[0], one_device[0])
    assert max(jax.tree.leaves(difference["params"])) > 1e-4


@pytest.mark.full
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_two_processes_of_four_devices_train_as_one(mode, one_device, tmp_path):
    structure = jax.tree.structure(one_device[0])
    ours = train_in_processes(tmp_path, structure, devices=4, mode=mode)
    indices = np.concatenate([own[3] for own in ours], axis=1)
    for state, losses, masks, _ in ours:
        assert_same_training((state, losses, masks, indices), one_device)


@pytest.mark.parametrize("kind", [JitLayout, PmapLayout])
def test_a_tree_survives_the_way_to_the_devices_and_back(kind):
    layout = kind(tuple(jax.devices()))
    tree = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int32(7)}
    placed = layout.replicate(tree)
    chex.assert_trees_all_equal(layout.fetch(placed), tree)
    saved = layout.to_mesh(placed)
    assert saved["a"].shape == (2, 3)
    assert saved["a"].sharding.is_fully_replicated
    chex.assert_trees_all_equal(layout.fetch(layout.from_mesh(saved)), tree)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_batch_is_laid_out_in_order(mode):
    layout = make_layout(ParallelConfig(mode=mode))
    placed = layout.place({"index": np.arange(16)})["index"]
    rows = sorted(placed.addressable_shards, key=lambda s: s.device.id)
    assert [list(np.asarray(s.data).ravel()) for s in rows] == [
        [2 * i, 2 * i + 1] for i in range(8)
    ]


def test_more_devices_than_there_are_is_one_sentence():
    with pytest.raises(UserError, match=r"parallel.devices=9 but .* 8"):
        make_layout(ParallelConfig(devices=9))


def test_a_replicated_state_is_written_over_by_its_successor():
    """What is laid out is donated for good: its memory becomes the result's."""
    layout = JitLayout(tuple(jax.devices()[:1]))
    state = layout.replicate(jax.jit(lambda: jax.numpy.ones((512, 512)))())
    place = state.unsafe_buffer_pointer()
    after = layout.compile(lambda x: x + 1, donate=(0,))(state)
    assert state.is_deleted()
    assert after.unsafe_buffer_pointer() == place
