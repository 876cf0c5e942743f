"""Layers over a mesh: the numbers of one device, each computed where its parameters lie."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.models.layers import FullyConnected, MaxPool
from jaxcnn.training.distributed_layers import DistributedLayers
from jaxcnn.training.layouts import AXIS, MODEL_AXIS, JitLayout
from jaxcnn.training.split import Split
from jaxcnn.training.traffic import exchanged_bytes

pytestmark = pytest.mark.usefixtures("compile_quickly")


class Network(nn.Module):
    """Convolutions, the second in groups, and a fully connected end."""

    groups: int = 2

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(16, (3, 3), feature_group_count=self.groups, name="conv2")(x))
        x = nn.relu(FullyConnected(24, window=3, name="fc3")(x.reshape(len(x), -1)))
        x = nn.relu(nn.Dense(16, name="fc4")(x))
        return FullyConnected(4, name="logits")(x)


IMAGES = np.random.default_rng(0).normal(size=(16, 3, 3, 5)).astype(np.float32)


def parameters(network):
    params = network.init(jax.random.key(0), IMAGES)["params"]
    # Zeros would hide a bias that is left out, or added twice.
    return jax.tree.map(
        lambda x: x + 0.05 * np.cos(np.arange(x.shape[-1], dtype=np.float32)), params
    )


def derivatives(network):
    """The logits, their tangents, and the gradients of a sum of their sines."""

    def step(params, batch):
        def logits(params, images):
            return network.apply({"params": params}, images)

        given = params, batch["image"]
        directions = jax.tree.map(jnp.cos, given)
        primal, tangent = jax.jvp(logits, given, directions)
        gradients = jax.grad(lambda *given: jnp.sum(jnp.sin(logits(*given))), argnums=(0, 1))
        return primal, tangent, gradients(*given)

    return step


# The last two: groups, and outputs of some layers, that a row does not divide; and images.
@pytest.mark.parametrize(
    ("devices", "model", "split", "groups"),
    [
        (2, 2, ".*", 2),
        (8, 2, ".*", 4),
        (8, 1, None, 2),
        (8, 8, None, 2),
        (8, 4, None, 1),
        (8, 2, "conv1|fc4", 2),
        (8, 8, ".*", 2),
        (6, 3, "fc.*", 2),
    ],
)
def test_they_are_the_networks_own_with_their_derivatives(devices, model, split, groups):
    network = Network(groups)
    params, step = parameters(network), derivatives(network)
    layout = JitLayout(tuple(jax.devices()[:devices]), Split(split, model))
    batch = {"image": IMAGES}
    placed = layout.place(batch) if len(IMAGES) % devices == 0 else batch
    ours = layout.compile(step)(layout.distribute(params), placed)
    expected = jax.jit(step)(params, batch)
    chex.assert_trees_all_close(layout.fetch(ours), expected, atol=1e-4, rtol=1e-5)


def compiled(layout, network):
    """A step of gradient descent on the network, with its parameters as they lie."""

    def step(params, batch):
        def loss(params):
            return jnp.mean(jnp.sin(network.apply({"params": params}, batch["image"])))

        return jax.tree.map(lambda x, g: x - g, params, jax.grad(loss)(params))

    arguments = layout.distribute(parameters(network)), layout.place({"image": IMAGES})
    return layout.compile(step).lower(*arguments).compile()


class TwoConvolutions(nn.Module):
    """The second in two groups."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), name="conv1")(x))
        return nn.Conv(16, (3, 3), feature_group_count=2, name="conv2")(x)


def test_nothing_leaves_its_device_but_sums_where_nothing_is_split():
    layout = JitLayout(tuple(jax.devices()))
    assert exchanged_bytes(compiled(layout, TwoConvolutions()).as_text()).keys() == {"all-reduce"}


def test_groups_take_their_maps_where_they_lie():
    """The images are gathered once; the outputs go back to where their examples are."""
    layout = JitLayout(tuple(jax.devices()), Split(".*", 2))
    sent = exchanged_bytes(compiled(layout, TwoConvolutions()).as_text())
    assert sent.keys() == {"all-gather", "all-reduce"} | (sent.keys() & {"all-to-all"})
    assert sent["all-gather"] == 2 * 3 * 3 * 5 * 4


class Pooled(nn.Module):
    """What is pooled comes to a layer in another form."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), name="conv1")(x)
        x = MaxPool(window=3, stride=3, name="pool1")(x)
        return FullyConnected(4, name="logits")(x.reshape(len(x), -1))


def test_maps_are_pooled_before_they_move():
    layout = JitLayout(tuple(jax.devices()), Split("conv1", 2))
    sent = exchanged_bytes(compiled(layout, Pooled()).as_text())
    # Of the pool's outputs for the 4 examples of a row half is elsewhere, and comes back.
    assert sent["all-to-all"] == 2 * 4 * 4 * 4 / 2


def test_what_is_split_is_never_gathered_or_summed_over_its_row():
    network, model = Network(), 4
    layout = JitLayout(tuple(jax.devices()), Split(None, model))
    sizes = jax.tree.map(jnp.size, parameters(network))
    split = {name: sum(jax.tree.leaves(sizes[name])) for name in ("fc3", "fc4", "logits")}
    rest = sum(jax.tree.leaves(sizes)) - sum(split.values())
    program = compiled(layout, network).as_text()
    sent = exchanged_bytes(program)
    # A ring's share of the gradients' bytes: over all devices, and over the two rows.
    assert sent["all-reduce"] == 4 * (2 * 7 * rest / 8 + 2 * 1 * sum(split.values()) / model / 2)
    # Forwards what comes into each layer, for the 8 examples of a row, backwards the gradients.
    inputs = 8 * (3 * 3 * 16 + 24 + 16)
    assert sent["all-gather"] == sent["reduce-scatter"] == 4 * inputs * 3 / 4
    # The logits, and back.
    assert sent["all-to-all"] == 2 * 4 * 2 * 4 * 3 / 4


def test_it_is_for_this_that_it_is_not_left_to_xla(monkeypatch):
    """When XLA has learnt it, this can go."""
    layout = JitLayout(tuple(jax.devices()), Split(None, 4))
    ours = sum(exchanged_bytes(compiled(layout, Network()).as_text()).values())
    monkeypatch.setattr(
        DistributedLayers, "__call__", lambda self, method, args, kwargs, _: method(*args, **kwargs)
    )
    theirs = sum(exchanged_bytes(compiled(layout, Network()).as_text()).values())
    assert theirs > 1.1 * ours


def test_every_device_computes_its_share_alone():
    """As many operations on each of 8 devices, whatever is split, as an eighth of one device's."""
    alone = compiled(JitLayout((jax.devices()[0],)), Network()).cost_analysis()["flops"]
    for split, model in ((None, 1), (None, 4), (None, 8), (".*", 2)):
        layout = JitLayout(tuple(jax.devices()), Split(split, model))
        each = compiled(layout, Network()).cost_analysis()["flops"]
        assert each == pytest.approx(alone / 8, rel=0.1)


def test_the_mesh_has_a_row_for_each_copy():
    mesh = JitLayout(tuple(jax.devices()), Split(None, 4)).mesh
    assert mesh.shape == {AXIS: 2, MODEL_AXIS: 4}
    assert [[d.id for d in row] for row in mesh.devices] == [[0, 1, 2, 3], [4, 5, 6, 7]]
