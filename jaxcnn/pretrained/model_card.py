"""The card of shared weights: what they are, how to use them, what they reach."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from jaxcnn.errors import UserError, printable
from jaxcnn.models import image_shape

_LICENSE_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_LISTED = 20  # classes that are all named


class Measured(NamedTuple):
    """What weights reach.

    Attributes:
      metric: such as ``'top-1 accuracy'``.
      value: a share, in [0, 1].
      images: of what, such as ``'digits test'``.
      how: more about it, in a few words, such as the protocol.
    """

    metric: str
    value: float
    images: str
    how: str = ""


def model_card(
    title: str,
    model: nn.Module,
    variables: Mapping[str, Any],
    header: Mapping[str, Any],
    *,
    license_name: str | None,
    about: str | None,
    measured: Sequence[Measured],
) -> str:
    """The card, in Markdown, with what the hub wants to know in YAML before it.

    Args:
      title: of the card.
      model: the network.
      variables: its own.
      header: what a file of its weights says of it.
      license_name: of the weights, by its name on the hub; None: none is named.
      about: what the weights are, in Markdown.
      measured: what they reach.

    Raises:
      UserError: the licence is no name of one.
    """
    if license_name is not None and not _LICENSE_NAME.fullmatch(license_name):
        raise UserError(
            f"'{license_name}' is no licence by its name on the Hugging Face hub; give one such as "
            "apache-2.0, mit or cc-by-4.0."
        )
    name, names = header["model"], header.get("class_names")
    parameters = sum(math.prod(np.shape(array)) for array in jax.tree.leaves(variables["params"]))
    fields = "; ".join(f"{key}: {json.dumps(value)}" for key, value in header["fields"].items())
    fields = printable(fields).replace("`", "'")  # within backticks Markdown escapes nothing
    # A string of JSON is one of YAML, too.
    front = [
        "---",
        "library_name: jaxcnn",
        "pipeline_tag: image-classification",
        f"tags: {json.dumps(['image-classification', 'jax', 'flax', name])}",
        *([f"license: {license_name}"] if license_name else []),
        *_index(title, measured),
        "---",
    ]
    body = [
        f"# {_plain(title)}",
        about or f"Weights of the network `{name}` for jaxcnn.",
        f"`{name}`, {parameters:,} parameters, {model.num_classes:,} classes"
        + (f"; with other fields than usual: `{fields}`." if fields else "."),
        "## Use",
        f"```\npython -m jaxcnn predict {name} --weights=FOLDER photo.jpg\n```",
        "```python\nfrom jaxcnn import load_pretrained\n\n"
        f'network = load_pretrained("{name}", "FOLDER")\n'
        + (
            "logits = network.model.apply(network.variables, network.preprocessing(images))\n"
            if header.get("preprocessing")
            else "logits = network.model.apply(network.variables, images)\n"
        )
        + "```",
        "`FOLDER` is where this folder lies, or the name that it has on the hub, `user/model`.",
        "## Images",
        _images(name, header.get("preprocessing")),
        "## Classes",
        _classes(names, model.num_classes),
        *(["## Results", _table(measured)] if measured else []),
    ]
    return "\n".join(front) + "\n\n" + "\n\n".join(body) + "\n"


def _index(title: str, measured: Sequence[Measured]) -> list[str]:
    """What the hub shows of results."""
    if not measured:
        return []
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"type": each.images.split()[0], "name": each.images},
            "metrics": [{"type": "accuracy", "name": each.metric, "value": each.value}],
        }
        for each in measured
    ]
    index = [{"name": printable(title), "results": results}]
    return [f"model-index: {json.dumps(index, ensure_ascii=False)}"]


def _images(name: str, preprocessing: Mapping[str, Any] | None) -> str:
    height, width, _ = image_shape(name)
    if preprocessing is None:
        return f"How they were normalised is not known. Usual are {height} x {width} pixels."
    mean, std = (", ".join(f"{value:g}" for value in preprocessing[k]) for k in ("mean", "std"))
    channels, steps = len(preprocessing["mean"]), []
    if preprocessing.get("shorter_side"):
        steps.append(f"rescaled to a shorter side of {preprocessing['shorter_side']} pixels")
    if preprocessing.get("padding"):
        steps.append(f"{preprocessing['padding']} pixels of zeros put around them")
    if preprocessing.get("crop"):
        steps.append(f"the central {preprocessing['crop']} x {preprocessing['crop']} cropped")
    if preprocessing.get("mean_image"):
        steps.append("the mean image, which `config.json` holds, subtracted")
    else:
        steps.append(f"the mean ({mean}) subtracted")
    steps.append(f"and divided by ({std}), in grey levels of 0 to 255")
    kind = "Grey" if channels == 1 else f"{channels} channels, {preprocessing['channel_order']}"
    return f"{kind}: {', '.join(steps)}."


def _classes(names: Sequence[str] | None, count: int) -> str:
    if names is None:
        return f"{count:,}, of which no names are known."
    few = names if count <= _LISTED else [*names[:3], "...", names[-1]]
    return f"{count:,}: {', '.join(map(_plain, few))}."


def _table(measured: Sequence[Measured]) -> str:
    rows = [
        f"| {_plain(each.metric)} | {each.value:.2%} | {_plain(each.images)} | {_plain(each.how)} |"
        for each in measured
    ]
    return "\n".join(["| metric | value | images | how |", "| - | - | - | - |", *rows])


def _plain(text: str) -> str:
    """A text that Markdown takes for nothing but itself."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", printable(text))
