"""Layers chosen by pattern: which those are, and that frozen ones stay as they are to the bit."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.losses import cross_entropy
from jaxcnn.models.layers import BatchNorm
from jaxcnn.training.devices import JitLayout, PmapLayout
from jaxcnn.training.layer_patterns import chosen
from jaxcnn.training.optimizers import OptimizerConfig, averaging, make_optimizer
from jaxcnn.training.steps import create_state, make_train_step

DEVICES = tuple(jax.devices())


def network(**fields):
    return models.VGG(
        groups=((64, (3, 3)), (128, (3,))),
        num_classes=3,
        width=4,
        hidden=(8,),
        pooled_size=2,
        norm=BatchNorm,
        **fields,
    )


def batch(seed):
    random = np.random.default_rng(seed)
    return {
        "image": random.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8),
        "label": random.integers(0, 3, 8).astype(np.int32),
        "index": np.arange(8, dtype=np.int32),
        "weight": np.ones(8, np.float32),
    }


def normalise(images):
    return images.astype(jnp.float32) / 64 - 2


def augment(batch, step):
    return normalise(batch["image"]), batch["label"]


@functools.cache
def start():
    """Parameters and statistics that are not those of an untrained network, some of them -0.0."""
    shapes = jax.eval_shape(network().init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    random = np.random.default_rng(0)

    def drawn(path, leaf):
        value = random.uniform(-0.5, 0.5, leaf.shape).astype(np.float32)
        if path[-1].key in ("scale", "var"):
            return value + 1
        value.flat[0] = -0.0
        return value

    variables = jax.tree_util.tree_map_with_path(drawn, shapes)
    return variables["params"], variables["batch_stats"]


def train(config, layout, *, steps=4, **fields):
    """The state before training, and after."""
    model, optimizer = network(axis_name=layout.axis_name, **fields), make_optimizer(config)
    params, batch_stats = start()
    shapes = jax.eval_shape(
        lambda: create_state(
            model.clone(axis_name=None), optimizer, jnp.zeros((1, 8, 8, 3)), seed=0
        )
    )
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes).replace(
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        ema=None if config.ema is None else params,
    )
    step = layout.compile(
        make_train_step(
            model,
            optimizer,
            lambda step: 0.01,
            augment,
            seed=0,
            steps_per_epoch=4,
            log_every=2,
            average=averaging(config, steps_per_epoch=4),
            freeze=config.freeze,
            axis_name=layout.axis_name,
        )
    )
    after = layout.replicate(state)
    for seed in range(steps):
        after, metrics = step(after, layout.place(batch(seed)))
    return state, layout.fetch(after), layout.fetch(metrics)


def bits(tree):
    return jax.tree.map(lambda x: np.asarray(x).view(np.uint32), tree)


def split(tree, names):
    return {k: v for k, v in tree.items() if k in names}, {
        k: v for k, v in tree.items() if k not in names
    }


FROZEN = {"conv1_1", "conv1_2", "bn1_1", "bn1_2"}


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("momentum", JitLayout(DEVICES)),
        ("momentum", PmapLayout(DEVICES)),
        ("paper_momentum", JitLayout(DEVICES[:1])),
        ("adam", JitLayout(DEVICES[:1])),
        ("adamw", JitLayout(DEVICES[:1])),
    ],
)
def test_frozen_layers_stay_to_the_bit(name, layout):
    config = OptimizerConfig(name=name, weight_decay=0.1, decay="all", ema=0.9, freeze="conv1_.*")
    before, after, _ = train(config, layout)
    for field in ("params", "ema", "batch_stats"):
        ours, others = split(getattr(after, field), FROZEN)
        theirs, others_before = split(getattr(before, field), FROZEN)
        assert ours
        chex.assert_trees_all_equal(bits(ours), bits(theirs))
        moved = jax.tree.map(lambda a, b: np.any(a != b), others, others_before)
        assert all(jax.tree.leaves(moved)), moved
    paths = [
        jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(after.opt_state)
    ]
    assert any("conv2_1" in path for path in paths)
    assert not any(layer in path for path in paths for layer in FROZEN)


def test_jit_and_pmap_freeze_alike():
    config = OptimizerConfig(freeze="conv1_1|fc3", multipliers=("logits=3",))
    results = [
        train(config, layout, dropout=0.0)[1:]
        for layout in (JitLayout(DEVICES), PmapLayout(DEVICES))
    ]
    for part in ("params", "batch_stats", "opt_state"):
        chex.assert_trees_all_close(
            *(getattr(state, part) for state, _ in results), rtol=1e-4, atol=1e-5
        )


def test_a_frozen_network_is_seen_as_in_evaluation_and_costs_no_gradient():
    """With all but the last layer frozen the loss is that of the network outside training."""
    config = OptimizerConfig(freeze="conv.*|fc.*")
    before, after, metrics = train(config, JitLayout(DEVICES[:1]), steps=1, dropout=0.0)
    images = normalise(jnp.asarray(batch(0)["image"]))
    logits = network(dropout=0.0).apply(before.variables(), images)
    expected = cross_entropy(logits, batch(0)["label"]).mean()
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    chex.assert_trees_all_equal(bits(after.batch_stats), bits(before.batch_stats))
    optimizer = make_optimizer(config)
    step = make_train_step(
        network(),
        optimizer,
        lambda step: 0.01,
        augment,
        seed=0,
        steps_per_epoch=4,
        log_every=2,
        freeze=config.freeze,
    )
    state = before.replace(opt_state=optimizer.init(before.params))
    assert str(jax.make_jaxpr(step)(state, batch(0))).count("conv_general_dilated[") == 3


@pytest.mark.parametrize(
    ("pattern", "path", "is_chosen"),
    [
        ("conv[1-4]_.*", "conv3_3", True),
        ("conv[1-4]_.*", "bn3_3", True),  # the BatchNorm of that layer
        ("conv[1-4]_.*", "conv5_1", False),
        ("bn3_3", "conv3_3", False),
        ("conv1", "conv1_1", False),  # the whole name
        ("stage1", "stage1/block1/conv1", True),  # what is in it
        ("stage1", "stage10/block1/conv1", False),
        ("stage1/block2", "stage1/block2/bn1", True),
        ("block2", "stage1/block2/bn1", False),
        ("stage./block1/conv2", "stage2/block1/bn2", True),
        ("stage1/block1/shortcut", "stage1/block1/bn_shortcut", True),
        ("inception_4a/conv3x3", "inception_4a/bn3x3", True),
        (None, "conv1_1", False),
    ],
)
def test_what_a_pattern_chooses(pattern, path, is_chosen):
    assert chosen(pattern, path.split("/")) == is_chosen


@pytest.mark.parametrize("field", ["freeze", "multipliers"])
def test_a_pattern_that_matches_nothing_names_the_nearest_layers(field):
    params = start()[0]
    OptimizerConfig(freeze="conv.*", multipliers=("logits=10", "fc.=2")).check_layers(params)
    value = {"freeze": "convv1.*", "multipliers": ("convv1.*=2",)}[field]
    with pytest.raises(UserError, match=rf"optimizer.{field}=convv1\.\* matches no .* conv1_1"):
        OptimizerConfig(**{field: value}).check_layers(params)


def test_freezing_everything_is_one_sentence():
    with pytest.raises(UserError, match=r"optimizer.freeze=\.\* leaves no layer to train"):
        OptimizerConfig(freeze=".*").check_layers(start()[0])
