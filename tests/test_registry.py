"""The table of networks, and what importing the networks costs."""

import subprocess
import sys

import jax.numpy as jnp
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn.errors import UserError
from jaxcnn.models import registry


@pytest.fixture(autouse=True)
def _restored_tables(monkeypatch):
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    monkeypatch.setattr(registry, "_ALIASES", dict(registry._ALIASES))
    monkeypatch.setattr(registry, "_IMAGES", dict(registry._IMAGES))


class Tiny(nn.Module):
    num_classes: int = 2

    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(self.num_classes, name="logits")(images.mean((1, 2)))


def test_every_vgg_is_listed():
    assert jaxcnn.list_models("vgg*") == [
        "vgg11", "vgg11_bn", "vgg11_lrn", "vgg13", "vgg13_bn", "vgg16", "vgg16_1x1",
        "vgg16_1x1_bn", "vgg16_average", "vgg16_bn", "vgg19", "vgg19_bn", "vgg_small",
    ]  # fmt: skip
    assert jaxcnn.list_models("vgg1?_bn") == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]


def test_create_model_sets_fields():
    model = jaxcnn.create_model("vgg16_bn", num_classes=10, dtype=jnp.bfloat16)
    assert (model.num_classes, model.dtype) == (10, jnp.bfloat16)
    assert jaxcnn.create_model("vgg_small").num_classes == 2


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("vgg16bn", {}, "there is no model 'vgg16bn'; did you mean 'vgg16_bn'?"),
        ("vgg16", {"num_clases": 3}, "field of model 'vgg16' called 'num_clases'; did you mean"),
        ("vgg16", {"parent": None}, "there is no field of model 'vgg16' called 'parent'"),
    ],
)
def test_wrong_names_are_told_in_a_sentence(name, fields, message):
    with pytest.raises(UserError) as error:
        jaxcnn.create_model(name, **fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_is_registered_once_and_an_alias_finds_it():
    registry.register("tiny", Tiny, aliases=("tiny_v1",))
    assert jaxcnn.create_model("tiny_v1", num_classes=5) == Tiny(num_classes=5)
    assert jaxcnn.list_models("tiny*") == ["tiny"]
    for name, aliases in (("tiny", ()), ("tiny_v1", ()), ("tiny_v2", ("vgg16",))):
        with pytest.raises(ValueError, match="registered already"):
            registry.register(name, Tiny, aliases)
    assert "tiny_v2" not in jaxcnn.list_models()


def test_importing_the_models_costs_jax_and_flax_alone_and_starts_no_device():
    code = """
import sys
import flax.linen, jax
top = lambda: {name.partition('.')[0] for name in sys.modules}
before = top()
import jaxcnn.models
print(sorted(top() - before - set(sys.stdlib_module_names) - {'jaxcnn'}))
heavy = 'orbax tensorflow_datasets grain matplotlib optax cv2 tensorflow torch tensorboardX'
print([name for name in heavy.split() if name in top()])
print(jax._src.xla_bridge.backends_are_initialized())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split("\n")[:3] == ["[]", "[]", "False"]


def test_images_are_those_that_each_network_was_made_for():
    assert registry.image_shape("vgg16") == (224, 224, 3)
    assert registry.image_shape("alexnet_bn") == (227, 227, 3)
    assert registry.image_shape("resnet56") == registry.image_shape("plain110") == (32, 32, 3)
    assert registry.image_shape("lenet5_1998") == (32, 32, 1)
    with pytest.raises(UserError, match="did you mean 'vgg16'"):
        registry.image_shape("vgg_16")
