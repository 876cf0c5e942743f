"""Weights in a folder as the Hugging Face hub has them, here or there.

Such a folder holds ``model.safetensors``, ``config.json``, which says what network they are of and
what images they take, and ``README.md``, for people. Nothing in it is run.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import linen as nn

from jaxcnn.errors import UserError, printable
from jaxcnn.files import parse_object, read_bounded, whole_folder, write_atomically
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained.files import WeightFile, read_tensors
from jaxcnn.pretrained.model_card import Measured, model_card
from jaxcnn.pretrained.naming import OURS
from jaxcnn.pretrained.saving import described, to_text
from jaxcnn.progress import progress_is_shown

WEIGHTS, CONFIG, CARD = FILES = "model.safetensors", "config.json", "README.md"

_LARGEST_CONFIG = 2**26  # bytes; a mean image of 224 x 224 takes one million
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]+)?", re.ASCII)
_OF_FILES = (".safetensors", ".pth", ".pt", ".bin", ".h5", ".ckpt", ".npz", ".msgpack")


def save_folder(
    path: str | os.PathLike[str],
    name_or_model: str | nn.Module,
    variables: Mapping[str, Any],
    *,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
    license_name: str | None = None,
    about: str | None = None,
    measured: Sequence[Measured] = (),
) -> None:
    """Writes a folder to share, whole or not at all, that ``load_pretrained`` takes.

    Args:
      path: of the folder; there is none yet, or an empty one.
      name_or_model: as for `jaxcnn.pretrained.save_weights`.
      variables: the network's.
      preprocessing: what the weights were trained for.
      class_names: the name of each logit.
      license_name: of the weights, by its name on the hub, such as ``'apache-2.0'``; None: the card
        says none.
      about: what the weights are, for the card, in Markdown.
      measured: what they reach, for the card.

    Raises:
      UserError: as in `jaxcnn.pretrained.save_weights`; or something is there, or the licence is no
        name of one.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists already; give a new folder, or remove it.")
    model, tensors, header = described(
        name_or_model, variables, preprocessing=preprocessing, class_names=class_names
    )
    card = model_card(
        path.name,
        model,
        variables,
        header,
        license_name=license_name,
        about=about,
        measured=measured,
    )
    from jaxcnn.pretrained.safetensors_files import write_safetensors

    with whole_folder(path) as folder:
        write_safetensors(folder / WEIGHTS, tensors, to_text(header))
        write_atomically(folder / CONFIG, json.dumps(header, indent=1) + "\n")
        write_atomically(folder / CARD, card)


def at_hand(source: str | os.PathLike[str]) -> Path:
    """The file or the folder that a source of weights names, fetched from the hub if it is there.

    Args:
      source: a path; or ``'user/model'`` or ``'user/model@revision'``, if no such path is here.

    Raises:
      UserError: it is on the hub by its name, and cannot be fetched.
    """
    path, name = Path(source), os.fspath(source)
    named = _HUB_NAME.fullmatch(name) and not name.endswith(_OF_FILES)
    if path.exists() or not named or path.parent.is_dir():
        return path
    return _fetch(*name.partition("@")[::2])


def read_folder(folder: Path) -> tuple[WeightFile, dict[str, Any]]:
    """The weights in a folder, and what its configuration says, empty where that is not ours.

    Raises:
      UserError: it has no weights, or a file cannot be read.
    """
    if not (folder / WEIGHTS).exists():
        raise UserError(
            f"{folder} holds no {WEIGHTS}; name a file of weights, or a folder that "
            "`python -m jaxcnn share` wrote."
        )
    config = {}
    if (folder / CONFIG).exists():
        data = read_bounded(folder / CONFIG, _LARGEST_CONFIG)
        try:
            config = parse_object(data)
        except ValueError as error:
            raise UserError(
                f"{folder / CONFIG} cannot be read ({error}); copy the folder again."
            ) from error
    file = read_tensors(folder / WEIGHTS)
    return file, config if config.get("format") == OURS.name else {}


def _fetch(name: str, revision: str) -> Path:
    """The folder of a name on the hub, in the cache that all programs share."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
        from huggingface_hub.utils import disable_progress_bars
    except ImportError as error:
        raise UserError(
            f"there is no file or folder '{name}' here, and to fetch it from the Hugging Face hub "
            "the package huggingface_hub is missing: pip install 'jaxcnn[hub]'."
        ) from error
    if not progress_is_shown():
        disable_progress_bars()
    try:
        return Path(
            snapshot_download(name, revision=revision or None, allow_patterns=[WEIGHTS, CONFIG])
        )
    except LocalEntryNotFoundError as error:
        why = "it is not in the cache, and the hub cannot be reached"
        raise _not_fetched(name, why) from error
    except HfHubHTTPError as error:
        status = int(getattr(error.response, "status_code", 0))
        why = {
            401: "there is none, or it is not for everyone: log in by `hf auth login`",
            403: "it is not for everyone: ask its owner, and log in by `hf auth login`",
            404: "there is none of that name" + (f" and revision '{revision}'" if revision else ""),
        }.get(status, f"the hub answers {status}")
        raise _not_fetched(name, why) from error
    except Exception as error:  # of the network, in the words of whichever library met it
        why = printable(str(error)) or type(error).__name__
        raise _not_fetched(name, why) from error


def _not_fetched(name: str, why: str) -> UserError:
    return UserError(
        f"'{name}' is no file or folder here, and not to be had from the Hugging Face hub ({why})."
    )
