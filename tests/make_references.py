"""Makes tests/references: what PyTorch, torchvision and Keras compute, for our tests to compare.

    python3.11 -m venv torch-environment
    torch-environment/bin/pip install torch==2.13.0 keras==3.15.1 scikit-learn==1.9.1 pillow==13.0.0
    torch-environment/bin/pip install --no-deps torchvision==0.28.0
    torch-environment/bin/python tests/make_references.py

(torch's build for CPU, ``--index-url https://download.pytorch.org/whl/cpu``, is enough.) It takes
four minutes on 2 cores. Names of files to make may follow: layers, training, optimizers,
torchvision, keras. Each says in ``versions`` what made it. Weights and images are in none of them:
`reference_weights` makes them anew on either side.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from references import of_keras, of_layers, of_optimizers, of_torchvision, of_training

FOLDER = Path(__file__).parent / "references"
MAKE = {
    "layers": of_layers.layers_references,
    "training": of_training.training_references,
    "optimizers": of_optimizers.optimizers_references,
    "torchvision": of_torchvision.torchvision_references,
    "keras": of_keras.keras_references,
}


def main(names: list[str]) -> None:
    torch.set_grad_enabled(False)
    libraries = (torch, of_torchvision.torchvision, of_keras.keras, np)
    versions = {library.__name__: library.__version__ for library in libraries}
    for name in names or MAKE:
        np.savez_compressed(FOLDER / f"{name}.npz", versions=json.dumps(versions), **MAKE[name]())


if __name__ == "__main__":
    main(sys.argv[1:])
