"""Steps on CPU are compiled with options that this jaxlib knows: no convolution by YNNPACK."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from experiments import vgg_imagenet
from experiments.network import ModelConfig
from experiments.parts import make_parts
from jaxcnn.training import compiler_options as options
from jaxcnn.training.devices import ParallelConfig
from jaxcnn.training.layouts import JitLayout, PmapLayout

ONE = (jax.devices()[0],)


def step(kernel, batch):
    layout = ("NHWC", "HWIO", "NHWC")
    convolve = lambda k: lax.conv_general_dilated(  # noqa: E731
        batch["image"], k, (1, 1), "SAME", dimension_numbers=layout
    )
    return jax.grad(lambda k: jnp.sum(jnp.sin(convolve(k))))(kernel)


@pytest.mark.parametrize(
    ("layout", "by_ynnpack"),
    [
        (JitLayout(ONE), False),
        (PmapLayout(ONE), False),
        (JitLayout(ONE, plainly=True), True),
        (PmapLayout(ONE, plainly=True), True),
    ],
    ids=["jit", "pmap", "jit plainly", "pmap plainly"],
)
def test_a_layout_compiles_with_them(layout, by_ynnpack):
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 32, 32)).astype(np.float32)
    image = random.normal(size=(2, 16, 16, 32)).astype(np.float32)
    arguments = layout.replicate(kernel), layout.place({"image": image})
    compiled = layout.compile(step, donate=(0,)).lower(*arguments).compile()
    assert ("__ynn_fusion" in compiled.as_text()) == by_ynnpack
    gradient = layout.fetch(compiled(*arguments))
    assert arguments[0].is_deleted()  # given up by the step
    np.testing.assert_allclose(gradient, step(kernel, {"image": image}), rtol=0, atol=1e-3)


def test_they_are_left_out_where_they_are_not_known(monkeypatch):
    monkeypatch.setattr(options, "_CPU", {"xla_cpu_that_is_gone": "True"})
    options.compiler_options.cache_clear()
    try:
        assert options.compiler_options("cpu") == {}
    finally:
        options.compiler_options.cache_clear()


def test_other_platforms_have_none():
    assert options.compiler_options("gpu") == {}


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_configuration_can_do_without(mode):
    config = dataclasses.replace(
        vgg_imagenet.DIGITS,
        model=ModelConfig("vgg11", convolution="xla"),
        parallel=ParallelConfig(mode=mode, devices=1),
    )
    assert make_parts(config).layout.plainly
    usual = dataclasses.replace(config, model=ModelConfig("vgg11"))
    assert not make_parts(usual).layout.plainly
