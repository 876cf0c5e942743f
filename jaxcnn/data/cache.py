"""The user's cache folder: what is in it can always be made again."""

import os
from pathlib import Path

import platformdirs

from jaxcnn.errors import UserError


def cache_folder(subject: str) -> Path:
    """The folder for one subject below ``$JAXCNN_CACHE``, or else below the platform's cache.

    Raises:
      UserError: it does not exist and cannot be made.
    """
    root = os.environ.get("JAXCNN_CACHE") or platformdirs.user_cache_dir("jaxcnn")
    folder = Path(root).expanduser() / subject
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the cache folder {folder} cannot be made ({error.strerror}); "
            "set the environment variable JAXCNN_CACHE to a folder that can be written."
        ) from error
    return folder
