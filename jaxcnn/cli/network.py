"""The network that a command line names, with its weights."""

import argparse

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import seed
from jaxcnn.errors import UserError
from jaxcnn.evaluation.classifier import Classifier
from jaxcnn.models import create_model, image_shape
from jaxcnn.pretrained import load_pretrained
from jaxcnn.pretrained.network import Pretrained


def add_network(parser: argparse.ArgumentParser, *, weights: str | None) -> None:
    """Adds the name of a network and what changes it.

    Args:
      parser: of the command.
      weights: what the command does without ``--weights``, for ``--help``; None for a command that
        has no use for weights.
    """
    parser.add_argument("network", help="one of `python -m jaxcnn list`")
    if weights is not None:
        what = f"trained weights (without: {weights})"
        parser.add_argument("--weights", metavar="FILE", help=what)
        parser.add_argument("--seed", type=seed, default=0, help="of weights that are drawn")
    parser.add_argument("--num-classes", type=int, metavar="N", help="another number of classes")
    parser.add_argument("--in-channels", type=int, metavar="N", help="of images: 1 or 3")
    parser.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="height and width (default: the usual)"
    )


def model_of(arguments: argparse.Namespace) -> nn.Module:
    """The network, without weights.

    Raises:
      UserError: there is no such network, or the number of classes is none.
    """
    images_of(arguments)
    fields = {} if arguments.num_classes is None else {"num_classes": arguments.num_classes}
    return create_model(arguments.network, **fields)


def add_trained_network(parser: argparse.ArgumentParser) -> None:
    """Adds the name of a network and its weights, without which the command is for nothing.

    Args:
      parser: of the command.
    """
    parser.add_argument("network", help="one of `python -m jaxcnn list`")
    parser.add_argument("--weights", metavar="FILE", required=True, help="trained weights")
    parser.add_argument("--in-channels", type=int, metavar="N", help="of images: 1 or 3")
    parser.set_defaults(num_classes=None, image_size=None, seed=0)


def network_of(arguments: argparse.Namespace, output: Output) -> Pretrained:
    """The network with the weights of ``--weights``, or with random ones, which is remarked.

    Args:
      arguments: with what ``add_network`` adds.
      output: for remarks.

    Raises:
      UserError: there is no such network, or the weights are not its own.
    """
    images = jnp.zeros((1, *images_of(arguments)))
    if arguments.weights is not None:
        network = load_pretrained(
            arguments.network,
            arguments.weights,
            num_classes=arguments.num_classes,
            in_channels=arguments.in_channels,
            seed=arguments.seed,
        )
        for note in network.notes:
            output.note(note)
        return network
    model = model_of(arguments)
    variables = jax.jit(model.init)(jax.random.key(arguments.seed), images)
    output.note(f"{arguments.network} has random weights; --weights=FILE takes trained ones.")
    return Pretrained(model, variables, None, None, ())


def classifier_of(
    name: str, source: str, network: Pretrained, image_size: int | None = None
) -> Classifier:
    """A network for images as its weights were trained for them.

    Args:
      name: of the network.
      source: of its weights.
      network: with the weights.
      image_size: of a crop; None for what the file, or its publisher, says, or the usual size.

    Raises:
      UserError: the weights have no head, or it is not known how images are normalised for them.
    """
    if not any("logits" in key for key in flatten_dict(network.variables)):
        raise UserError(
            f"{source} holds no last layer, so that nothing can be evaluated; train one."
        )
    preprocessing = network.preprocessing
    if preprocessing is None:
        raise UserError(
            f"{source} does not say how images were normalised for it; save it with a "
            "preprocessing."
        )
    size = image_size or preprocessing.crop or image_shape(name)[0]
    return Classifier(
        title=f"{name} with the weights of {source}",
        name=name,
        model=network.model,
        variables=network.variables,
        preprocessing=preprocessing,
        class_names=network.class_names,
        image_size=size,
        padding=preprocessing.padding,
        scale=preprocessing.shorter_side or round(size * 256 / 224),
    )


def images_of(arguments: argparse.Namespace) -> tuple[int, int, int]:
    """Height, width and channels of the network's images: as asked for, else the usual ones.

    Raises:
      UserError: there is no such network, or a number is no size.
    """
    height, width, channels = image_shape(arguments.network)
    for option in ("image_size", "in_channels", "num_classes"):
        if (number := getattr(arguments, option)) is not None and number < 1:
            raise UserError(f"--{option.replace('_', '-')} must be 1 or more, not {number}.")
    if arguments.in_channels not in (None, 1, 3):
        raise UserError(
            f"--in-channels must be 1, for grey images, or 3, not {arguments.in_channels}."
        )
    if arguments.image_size is not None:
        height = width = arguments.image_size
    return height, width, arguments.in_channels or channels
