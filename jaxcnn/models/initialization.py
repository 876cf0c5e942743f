"""How weights begin, by name; biases begin at zero throughout."""

from typing import NamedTuple

from jax.nn.initializers import Initializer, glorot_uniform, normal, variance_scaling

from jaxcnn.errors import unknown_name


class Initialization(NamedTuple):
    """What draws the kernels of a network's convolutions, and those of its linear layers."""

    convolution: Initializer
    linear: Initializer


# Variances are of the full normal distribution, not of one truncated at two deviations as in
# flax's `he_normal`. A fan counts every weight of a window: k * k * channels.
INITIALIZATIONS: dict[str, Initialization] = {
    # Glorot & Bengio 2010, to which the VGG paper points after its submission.
    "glorot": Initialization(glorot_uniform(), glorot_uniform()),
    # Simonyan & Zisserman 2014, section 3.1: "zero mean and 10^-2 variance", a deviation of 0.1.
    "paper": Initialization(normal(0.1), normal(0.1)),
    # He et al. 2015 (arXiv 1502.01852), forward form: a variance of 2 / fan-in.
    "he": Initialization(
        variance_scaling(2.0, "fan_in", "normal"), variance_scaling(2.0, "fan_in", "normal")
    ),
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
