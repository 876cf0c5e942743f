"""Layers split over a model axis of the mesh: parts on the devices, one device's numbers."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import DictKey, GetAttrKey, SequenceKey
from layout_training import assert_same_training, start, train, train_in_processes

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.training import distributed_layers
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.split import Split

HALVES = {"model": 2, "split": ".*"}  # the paper's AlexNet as its authors laid it


@pytest.fixture(scope="module")
def alexnet():
    return train(make_layout(ParallelConfig(devices=1)), "alexnet")


def assert_halved(state):
    """Each device holds half of every array of the parameters, the optimizer and the average."""
    for x in jax.tree.leaves((state.params, state.opt_state, state.ema)):
        half = (*x.shape[:-1], x.shape[-1] // 2)
        assert {shard.data.shape for shard in x.addressable_shards} == {half}


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.full), 8])
def test_the_halves_of_alexnet_train_as_one_device(devices, alexnet):
    layout = make_layout(ParallelConfig(devices=devices, **HALVES))
    assert_same_training(train(layout, "alexnet", look=assert_halved), alexnet)


@pytest.fixture(scope="module")
def vgg():
    return train(make_layout(ParallelConfig(devices=1)), "vgg11_bn")


# Of the layers that the field alone splits, the hidden ones have 32 outputs each and the last 10.
@pytest.mark.parametrize(
    "model", [pytest.param(2, marks=pytest.mark.full), 4, pytest.param(8, marks=pytest.mark.full)]
)
@pytest.mark.parametrize("network", ["alexnet", pytest.param("vgg", marks=pytest.mark.full)])
def test_fully_connected_layers_in_parts_train_as_one_device(network, model, request):
    expected = request.getfixturevalue(network)

    def assert_in_parts(state):
        arrays = jax.tree_util.tree_leaves_with_path((state.params, state.opt_state, state.ema))
        for path, x in arrays:
            layer = path[-2].key
            split = layer in ("fc6", "fc7") or (layer == "logits" and model == 2)
            part = (*x.shape[:-1], x.shape[-1] // (model if split else 1))
            assert {shard.data.shape for shard in x.addressable_shards} == {part}

    name = {"vgg": "vgg11_bn"}.get(network, network)
    ours = train(make_layout(ParallelConfig(model=model)), name, look=assert_in_parts)
    assert_same_training(ours, expected)


def test_a_row_that_forgets_its_others_is_seen(alexnet, monkeypatch):
    """Each device gathers its own examples again and again."""

    def own(x, axis_name, *, axis, tiled):
        del tiled
        return jnp.concatenate([x] * jax.lax.axis_size(axis_name), axis)

    monkeypatch.setattr(distributed_layers.lax, "all_gather", own)
    forgetful = train(make_layout(ParallelConfig(model=2)), "alexnet")
    with pytest.raises(AssertionError):
        assert_same_training(forgetful, alexnet)
    difference = jax.tree.map(lambda a, b: abs(a - b).max(), forgetful[0], alexnet[0])
    assert max(jax.tree.leaves(difference["params"])) > 1e-4


def test_the_comparison_has_power(alexnet):
    """Every parameter goes many times further than the comparison tolerates."""
    _, start_of_it = start(make_layout(ParallelConfig(devices=1)), "alexnet")
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), alexnet[0]["params"], start_of_it.params)
    assert min(jax.tree.leaves(moved)) > 1e-4


# Rows within the processes, and over them.
@pytest.mark.parametrize(
    ("devices", "parallel"),
    [
        (1, HALVES),
        pytest.param(4, HALVES, marks=pytest.mark.full),
        pytest.param(2, {"model": 4}, marks=pytest.mark.full),
        pytest.param(4, {"model": 8}, marks=pytest.mark.full),
        pytest.param(4, {"model": 2}, marks=pytest.mark.full),
    ],
)
def test_parts_over_two_processes_train_as_one_device(devices, parallel, alexnet, tmp_path):
    structure = jax.tree.structure(alexnet[0])
    ours = train_in_processes(tmp_path, structure, "alexnet", devices=devices, **parallel)
    indices = np.concatenate([own[3] for own in ours], axis=1)
    for own in ours:
        assert_same_training((*own[:3], indices), alexnet)


def test_what_belongs_to_a_layer_lies_as_its_parameters_do():
    split = Split("conv1|stage1/.*", parts=2)
    kernel = (3, 3, 4, 8)
    conv1 = (DictKey("conv1"), DictKey("kernel"))
    state = (GetAttrKey("opt_state"), SequenceKey(0), GetAttrKey("trace"))
    assert split.applies((GetAttrKey("params"), *conv1), kernel)
    assert split.applies((*state, *conv1), kernel)
    deep = (GetAttrKey("ema"), DictKey("stage1"), DictKey("conv2"), DictKey("bias"))
    assert split.applies(deep, (8,))
    assert split.applies((GetAttrKey("batch_stats"), DictKey("bn1"), DictKey("mean")), (8,))
    assert not split.applies((*state, DictKey("conv10"), DictKey("kernel")), kernel)
    assert not split.applies((GetAttrKey("params"), *conv1), ())
    assert not Split("conv1").applies((GetAttrKey("params"), *conv1), kernel)
    assert not Split(".*", parts=2).applies((DictKey("loss"),), (8,))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"split": "fcc6"}, "parallel.split=fcc6 matches no layer .* such as fc6"),
        ({"split": "fc7|logits"}, r"the 7 outputs of layer 'logits' .* parallel.split=fc7\|logits"),
        ({"model": 3}, r"parallel.model=3 devices can split none of .* \(fc\.\*\|logits\)"),
    ],
)
def test_a_network_that_cannot_be_split_so_is_one_sentence(fields, words):
    model = models.create_model("alexnet", width=16, num_classes=7)
    params = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 67, 67, 3)))["params"]
    ParallelConfig(model=2).check_layers(params)
    # By itself it splits what can be split.
    assert ParallelConfig(model=2).split_layers(params) == ["fc6", "fc7"]
    assert ParallelConfig(model=7).split_layers(params) == ["logits"]
    assert ParallelConfig(model=2, split="fc.*").split_layers(params) == ["fc6", "fc7"]
    assert ParallelConfig().split_layers(params) == []
    ParallelConfig(**{**fields, "model": 1}).check_layers(params)  # nothing over one device
    with pytest.raises(UserError, match=words):
        ParallelConfig(**{"model": 2, **fields}).check_layers(params)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": 0}, "parallel.model=0 must be 1"),
        ({"model": 2, "mode": "pmap"}, "parallel.model=2 needs parallel.mode=jit"),
        ({"model": 2, "split": "("}, "parallel.split=( is not a regular expression"),
    ],
)
def test_fields_that_cannot_work_are_one_sentence(fields, words):
    with pytest.raises(UserError, match=re.escape(words)):
        ParallelConfig(**fields).check()


def test_the_model_axis_divides_the_devices():
    with pytest.raises(UserError, match=r"parallel.model=3 does not divide the 8 device"):
        make_layout(ParallelConfig(model=3))


@pytest.mark.parametrize("model", [1, 2, 8])
def test_a_batch_is_divided_over_all_devices(model):
    layout = make_layout(ParallelConfig(model=model))
    assert layout.batch_parts == 8
    assert layout.share == (0, 1)
    placed = layout.place({"index": np.arange(16)})["index"]
    rows = sorted(placed.addressable_shards, key=lambda shard: shard.device.id)
    expected = [[2 * i, 2 * i + 1] for i in range(8)]
    assert [list(np.asarray(shard.data)) for shard in rows] == expected


def test_what_is_split_comes_back_whole():
    layout = make_layout(ParallelConfig(**HALVES))
    tree = {"a": {"kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "step": np.int32(7)}}
    placed = layout.distribute(tree)
    assert placed["a"]["kernel"].addressable_shards[0].data.shape == (3, 2)
    chex.assert_trees_all_equal(layout.fetch(placed), tree)
