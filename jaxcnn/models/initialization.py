"""How parameters begin, by name."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import (
    constant,
    glorot_uniform,
    normal,
    variance_scaling,
    zeros,
)

from jaxcnn.errors import unknown_name

Initializer = Callable[..., jax.Array]
"""From a key, a shape and a dtype to an array."""


class Initialization(NamedTuple):
    """What draws the parameters of a network.

    Attributes:
      convolution: the kernels of convolutions.
      linear: the kernels of linear layers.
      positive: the biases of the layers that AlexNet starts with a positive bias, "by providing
        the ReLUs with positive inputs"; all other biases begin at zero.
    """

    convolution: Initializer
    linear: Initializer
    positive: Initializer = zeros


_HE = variance_scaling(2.0, "fan_in", "normal")


def _lenet(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    bound = 2.4 / math.prod(shape[:-1])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


# Variances are of the full normal distribution, not of one truncated at two deviations as in
# flax's `he_normal`. A fan counts every weight of a window: k * k * channels.
INITIALIZATIONS: dict[str, Initialization] = {
    # LeCun et al. 1998, appendix A: uniform in ±2.4 / fan-in.
    "lenet": Initialization(_lenet, _lenet),
    # Krizhevsky et al. 2012, section 5.
    "alexnet": Initialization(normal(0.01), normal(0.01), constant(1.0)),
    # Zeiler & Fergus 2013, section 3: "10^-2 and biases are set to 0", read as a deviation.
    "zfnet": Initialization(normal(0.01), normal(0.01)),
    # Simonyan & Zisserman 2014, section 3.1: "zero mean and 10^-2 variance", a deviation of 0.1.
    "vgg": Initialization(normal(0.1), normal(0.1)),
    # Glorot & Bengio 2010, to which the VGG paper points after its submission.
    "glorot": Initialization(glorot_uniform(), glorot_uniform()),
    # The GoogLeNet paper says nothing: these are the constants of Caffe's bvlc_googlenet.
    "googlenet": Initialization(
        variance_scaling(1.0, "fan_in", "uniform"),
        variance_scaling(1.0, "fan_in", "uniform"),
        constant(0.2),
    ),
    # He et al. 2015 (arXiv 1502.01852), forward form: a variance of 2 / fan-in.
    "he": Initialization(_HE, _HE),
    # The backward form for convolutions with AlexNet's 0.01 for linear layers: torchvision's VGG.
    "he_fan_out": Initialization(variance_scaling(2.0, "fan_out", "normal"), normal(0.01)),
}


def initialization(name: str) -> Initialization:
    """The initialisation of that name.

    Raises:
      UserError: there is none of that name.
    """
    if name not in INITIALIZATIONS:
        raise unknown_name("initialization", name, INITIALIZATIONS)
    return INITIALIZATIONS[name]
