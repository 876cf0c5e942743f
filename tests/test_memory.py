"""Steps that take less memory: in parts, and with activations computed again; the same numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.tree_util import DictKey
from networks import QUICKLY

from experiments.run import main
from experiments.vgg_imagenet import RECIPE
from jaxcnn import models
from jaxcnn.losses import cross_entropy
from jaxcnn.models.layers import BatchNorm, Dropout, FullyConnected, MaxPool
from jaxcnn.training import gradients, rematerialization
from jaxcnn.training.criteria import training_loss
from jaxcnn.training.gradients import make_gradients
from jaxcnn.training.layouts import JitLayout, PmapLayout
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.rematerialization import cuts, rematerialized
from jaxcnn.training.split import Split
from jaxcnn.training.steps import create_state, make_train_step
from jaxcnn.training.traffic import exchanged_bytes


class Tiny(nn.Module):
    """All that a network may have: BatchNorm, dropout, an auxiliary classifier."""

    normalised: bool = False
    dropout: float = 0.5
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train=False):
        for layer in range(1, 3):
            x = nn.Conv(8, (3, 3), name=f"conv{layer}")(x)
            if self.normalised:
                bn = functools.partial(BatchNorm, axis_name=self.axis_name, name=f"bn{layer}")
                x = bn(use_running_average=not train)(x)
            x = MaxPool(name=f"pool{layer}")(nn.relu(x))
        auxiliary = nn.Dense(3, name="aux")(x.mean(axis=(1, 2)))
        if train:
            self.sow("aux_logits", "aux_2", auxiliary)
        x = nn.relu(FullyConnected(16, window=2, name="fc3")(x.reshape(len(x), -1)))
        x = Dropout(self.dropout, axis_name=self.axis_name, name="drop3")(x, train=train)
        return FullyConnected(3, name="logits")(x)


SMALL = {"num_classes": 3, "initialization": "he"}
VGG = SMALL | {"width": 8, "hidden": (32, 32), "pooled_size": 1, "dropout": 0.5}
# Narrow forms of networks, and images of about the least size that they take.
NETWORKS = {
    "vgg11": (VGG, 32),
    "vgg11_bn": (VGG, 32),
    "alexnet": (SMALL | {"width": 16, "hidden": (32, 32), "dropout": 0.5}, 67),
    "googlenet": (SMALL | {"width": 8}, 64),
    "resnet20": ({"num_classes": 3}, 8),
}
OPTIMIZER = make_optimizer(OptimizerConfig(name="momentum", weight_decay=5e-4))
COUNT, COUNTED = 16, 13


@functools.cache
def parts_of(name, **fields):
    """A network, the state before its first step, and a batch of which some do not count."""
    if name.startswith("tiny"):
        model, size = Tiny(normalised=name == "tiny_bn", **fields), 8
    else:
        given, size = NETWORKS[name]
        model = models.create_model(name, **(given | fields))
    images = jnp.zeros((1, size, size, 3))
    create = functools.partial(create_state, model, OPTIMIZER, images, seed=0)
    random = np.random.default_rng(0)
    batch = {
        "image": random.integers(0, 256, (COUNT, size, size, 3), dtype=np.uint8),
        "label": random.integers(0, 3, COUNT).astype(np.int32),
        "index": np.arange(COUNT, dtype=np.int32),
        "weight": np.ones(COUNT, np.float32),
    }
    batch["weight"][[1, 6, 7]] = 0
    return model, jax.jit(create, compiler_options=QUICKLY)(), batch


def normalised(batch, step):
    return jnp.asarray(batch["image"], jnp.float32) / 64 - 2, jnp.asarray(batch["label"])


def differentiated(name, *, accumulate=1, remat=False, freeze=None, statistics=None, **fields):
    """What the batch's smoothed loss gives, with auxiliary classifiers where there are any."""
    model, state, batch = parts_of(name, **fields)
    if statistics is not None:
        state = state.replace(batch_stats=statistics)
    function = make_gradients(
        model,
        training_loss("cross_entropy", 0.1),
        seed=0,
        auxiliary_weight=0.3,
        freeze=freeze,
        accumulate=accumulate,
        remat=remat,
    )
    given = (state, *normalised(batch, 0), batch["weight"], jnp.float32(COUNTED))
    return jax.jit(function, compiler_options=QUICKLY)(*given)


at_once = functools.cache(differentiated)


def assert_equal(ours, expected, tolerance=1e-5):
    """Every array to a hundred-thousandth of its largest number."""

    def compare(path, a, b):
        difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
        # A bias before BatchNorm has a gradient of zero, but for rounding.
        scale = np.abs(b).max(initial=0) + (0.1 if path[-1:] == (DictKey("bias"),) else 0)
        assert difference.max(initial=0) <= tolerance * scale, path

    jax.tree_util.tree_map_with_path(compare, ours, expected)


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("tiny", {"accumulate": 4}),
        ("tiny", {"accumulate": 16, "remat": True}),
        ("tiny", {"accumulate": 2, "remat": True, "freeze": "conv1"}),
        ("tiny_bn", {"remat": True}),
        ("tiny_bn", {"remat": True, "freeze": "conv1"}),
        # A BatchNorm that is frozen normalises by what it has.
        ("tiny_bn", {"accumulate": 4, "freeze": "conv.*"}),
        *(
            pytest.param(name, {"accumulate": each, "remat": True}, marks=pytest.mark.full)
            for name, each in (
                ("vgg11", 2),
                ("alexnet", 2),
                ("googlenet", 2),
                ("vgg11_bn", 1),
                ("resnet20", 1),
            )
        ),
    ],
)
def test_a_batch_with_dropout_gives_the_same_in_less_memory(name, memory):
    assert_equal(differentiated(name, **memory), at_once(name, freeze=memory.get("freeze")))


def test_in_a_loop_as_on_gpu_it_gives_the_same(monkeypatch):
    expected = at_once("tiny")
    monkeypatch.setattr(gradients.jax, "default_backend", lambda: "gpu")
    assert_equal(differentiated("tiny", accumulate=4), expected)
    assert_equal(differentiated("tiny", accumulate=4, remat=True), expected)


def test_the_masks_are_those_of_the_batch(monkeypatch):
    """Where every part has a mask of its own the comparison shows it."""

    def plainly(method, args, kwargs, context):
        return method(*args, **kwargs)

    monkeypatch.setattr(gradients, "masks_of_the_batch", lambda index, count: plainly)
    ours = differentiated("tiny", accumulate=4)
    with pytest.raises(AssertionError):
        assert_equal(ours, at_once("tiny"), tolerance=1e-2)


def test_frozen_statistics_stay_to_the_bit():
    _, state, _ = parts_of("tiny_bn")
    # As many equal numbers added up and divided are not always that number.
    odd = jax.tree.map(lambda x: x + jnp.float32(0.1), state.batch_stats)
    after = differentiated("tiny_bn", accumulate=16, freeze="conv1", statistics=odd).batch_stats
    for name in ("mean", "var"):
        np.testing.assert_array_equal(after["bn1"][name], odd["bn1"][name])
        assert (after["bn2"][name] != odd["bn2"][name]).all()


@pytest.mark.parametrize("remat", [False, pytest.param(True, marks=pytest.mark.full)])
def test_batch_normalisation_is_that_of_each_micro_batch(remat):
    """The reference: every second example, then the others; the mean of what comes of each."""
    model, state, batch = parts_of("tiny_bn", dropout=0.0)
    images, labels = normalised(batch, 0)
    weights = jnp.asarray(batch["weight"])

    def loss(params, rows):
        logits, updated = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            images[rows],
            train=True,
            mutable=["batch_stats", "aux_logits"],
        )
        auxiliary, of = updated["aux_logits"]["aux_2"][0], training_loss("cross_entropy", 0.1)
        losses = of(logits, labels[rows]) + 0.3 * of(auxiliary, labels[rows])
        return jnp.sum(weights[rows] * losses) / COUNTED, (updated["batch_stats"], logits)

    of = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICKLY)
    results = [of(state.params, jnp.arange(COUNT)[first::2]) for first in range(2)]
    ((one, (stats, logits)), grad), ((two, (stats_two, logits_two)), grad_two) = results

    ours = differentiated("tiny_bn", accumulate=2, remat=remat, dropout=0.0)
    assert_equal(ours.total, one + two)
    assert_equal(ours.params, jax.tree.map(jnp.add, grad, grad_two))
    assert_equal(ours.batch_stats, jax.tree.map(lambda a, b: (a + b) / 2, stats, stats_two))
    assert_equal(ours.logits, np.stack([logits, logits_two], axis=1).reshape(COUNT, 3))
    with pytest.raises(AssertionError):  # with the statistics of all of them it is another
        assert_equal(ours.params, at_once("tiny_bn", dropout=0.0).params, tolerance=1e-2)


def compiled_on(layout, name, *, augment=normalised, **options):
    """The step on a layout, and what it is given at first."""
    model, state, batch = parts_of(name)
    step = layout.compile(
        make_train_step(
            model.clone(axis_name=layout.axis_name),
            OPTIMIZER,
            lambda step: jnp.float32(1e-3),
            augment,
            seed=0,
            steps_per_epoch=8,
            log_every=4,
            axis_name=layout.axis_name,
            **options,
        ),
        donate=(0,),
    )
    state, placed = layout.distribute(state), layout.place(batch)
    return step.lower(state, placed).compile(compiler_options=QUICKLY), state, placed


def trained(layout, name, *, steps=3, **options):
    """The state after some steps on a layout, and the last step's metrics."""
    step, state, placed = compiled_on(layout, name, **options)
    for _ in range(steps):
        state, metrics = step(state, placed)
    return layout.fetch((state.replace(plateau=None, stopping=None), metrics))


ALONE = JitLayout((jax.devices()[0],))
on_one_device = functools.cache(functools.partial(trained, ALONE))


@pytest.mark.parametrize(
    "layout",
    [
        JitLayout(tuple(jax.devices())),
        PmapLayout(tuple(jax.devices())),
        JitLayout(tuple(jax.devices()[:4]), Split("fc.*", 2)),
    ],
    ids=["jit", "pmap", "split"],
)
def test_every_layout_trains_in_micro_batches_as_one_device_at_once(layout):
    ours = trained(layout, "tiny", accumulate=2, remat=True)
    assert_equal(ours, on_one_device("tiny"))


@pytest.mark.parametrize("layout_class", [JitLayout, PmapLayout])
def test_micro_batches_are_the_same_ones_on_any_number_of_devices(layout_class):
    """BatchNorm shows it."""
    ours = trained(layout_class(tuple(jax.devices())), "tiny_bn", steps=1, accumulate=2)
    assert_equal(ours, on_one_device("tiny_bn", steps=1, accumulate=2))


def test_a_micro_batch_that_is_not_finite_leaves_the_whole_update_out():
    def spoilt(batch, step):
        images, labels = normalised(batch, step)
        return jnp.where((batch["index"] == 3)[:, None, None, None], jnp.nan, images), labels

    _, before, _ = parts_of("tiny")
    state, metrics = trained(ALONE, "tiny", steps=1, augment=spoilt, accumulate=4, remat=True)
    assert not metrics["finite"]
    jax.tree.map(np.testing.assert_array_equal, state.params, before.params)
    assert state.left_out.examples == COUNTED
    assert state.epoch.count == 0


def temporaries(function, *arguments):
    """Bytes that it takes besides what it is given and gives, compiled as in earnest."""
    return jax.jit(function).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def deep(params, x):
    """Twelve convolutions one after the other."""
    for kernel in params:
        x = nn.relu(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", **CHANNELS_LAST))
    return jnp.square(x).mean()


CHANNELS_LAST = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
DEEP = ([jax.ShapeDtypeStruct((3, 3, 8, 8), jnp.float32)] * 12,)
IMAGES = jax.ShapeDtypeStruct((8, 32, 32, 8), jnp.float32)


def test_rematerialisation_takes_less_memory():
    plain = temporaries(jax.grad(deep), *DEEP, IMAGES)
    assert temporaries(jax.grad(rematerialized(deep)), *DEEP, IMAGES) < 0.75 * plain


@pytest.mark.skipif(
    tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 11),
    reason="from jax 0.11 on jax.checkpoint saves as much; ours can go when jax 0.10 is dropped",
)
def test_jax_checkpoint_saves_less_on_cpu_than_ours(monkeypatch):
    """Why we do not use it."""
    ours = temporaries(jax.grad(rematerialized(deep)), *DEEP, IMAGES)
    monkeypatch.setattr(
        rematerialization, "_computed_twice", lambda piece, lasting: jax.checkpoint(piece)
    )
    assert temporaries(jax.grad(rematerialized(deep)), *DEEP, IMAGES) > 1.2 * ours


def test_micro_batches_take_less_memory():
    def of(accumulate):
        model, state, batch = parts_of("tiny")
        function = make_gradients(
            model,
            cross_entropy,
            seed=0,
            auxiliary_weight=0.3,
            freeze=None,
            accumulate=accumulate,
            remat=False,
        )
        given = (*normalised(batch, 0), batch["weight"], jnp.float32(COUNTED))
        return temporaries(function, state, *given)

    assert of(4) < 0.5 * of(1)


def test_cuts_are_where_little_is_alive():
    """Products with 1 x 64 and 64 x 1 in turn: between two pieces there is but a column."""

    def network(params, x):
        for wide, narrow in params:
            x = jnp.tanh(jnp.tanh(x @ wide) @ narrow)
        return x.sum()

    params, column = [(jnp.ones((1, 64)), jnp.ones((64, 1)))] * 5, jnp.ones((64, 1))
    jaxpr = jax.make_jaxpr(network)(params, column).jaxpr
    first, *between, last = cuts(jaxpr)
    assert (first, last) == (0, len(jaxpr.eqns))
    assert len(between) >= 4
    for place in between:
        assert jaxpr.eqns[place - 1].outvars[0].aval.shape == (64, 1)
    gradient = jax.grad(rematerialized(network))(params, column)
    assert_equal(gradient, jax.grad(network)(params, column))


def test_what_has_nothing_to_cut_is_left_whole():
    jaxpr = jax.make_jaxpr(lambda x: jnp.sin(x).sum())(jnp.ones(3)).jaxpr
    assert cuts(jaxpr) == [0, len(jaxpr.eqns)]


RUN = [
    "--config=digits",
    "--config.model.name=vgg11_bn",
    "--config.model.width=4",
    "--config.model.hidden=8",
    "--config.train.steps=1",
    "--config.train.batch_size=16",
    "--config.schedule.warmup_epochs=0",
    "--config.parallel.devices=2",
]


@pytest.mark.full
def test_a_run_says_whose_statistics_batch_normalisation_has(tmp_path, capsys):
    fields = ["--config.train.accumulate=2", "--config.train.remat=True"]
    assert main(RECIPE, [*RUN, *fields, f"--config.workdir={tmp_path / 'run'}"]) == 0
    assert "BatchNorm's statistics are those of micro-batches of 8 examples each" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (3, "train.accumulate=3 does not divide the 8 examples that each of 2 devices has of"),
        (0, "train.accumulate=0 must be 1 or more"),
    ],
)
def test_micro_batches_that_are_not_equal_are_one_sentence(count, words, tmp_path, capsys):
    fields = [f"--config.train.accumulate={count}", f"--config.workdir={tmp_path / 'run'}"]
    assert main(RECIPE, [*RUN, *fields]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_nothing_but_sums_is_exchanged():
    """Every device takes its part of each micro-batch from its own rows."""
    layout = JitLayout(tuple(jax.devices()))
    compiled = compiled_on(layout, "tiny_bn", accumulate=2, remat=True)[0]
    assert exchanged_bytes(compiled.as_text()).keys() == {"all-reduce"}
