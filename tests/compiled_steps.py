"""What the training steps of four networks come to once they are compiled: counts, not times.

    python -m tests.compiled_steps

makes `compiled_steps.json` anew, after a change that is meant to move them, or for another jax,
whose XLA may fuse and count in another way. It takes a minute, and computes nothing.
"""

import json
from pathlib import Path
from typing import Any

import jax

from experiments.network import on_devices
from experiments.plain_training import batch_shapes, memory, plain_training
from jaxcnn import models
from jaxcnn.training.layouts import JitLayout

FILE = Path(__file__).with_name("compiled_steps.json")
BATCH = 4
# Small images, and narrow hidden layers: full ones would outweigh all convolutions.
NARROW = {"hidden": (256, 256)}
NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "alexnet": (67, NARROW),
    "googlenet": (64, {}),
    "resnet50": (64, {}),
    "vgg16": (64, NARROW),
}


def measured(name: str) -> dict[str, int]:
    """Of one step on one CPU device.

    Its floating-point operations, the bytes that its operations read and write, the bytes of its
    temporaries, and all that it takes in memory.
    """
    size, fields = NETWORKS[name]
    layout = JitLayout((jax.devices()[0],))
    model = on_devices(models.create_model(name, num_classes=10, **fields), layout)
    create, step = plain_training(model, size)
    lowered = layout.compile(step, donate=(0,)).lower(
        *layout.shapes(jax.eval_shape(create), batch_shapes(BATCH, size))
    )
    # What is left out is making machine code that runs quickly; what is computed stays the same.
    compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    costs = compiled.cost_analysis()
    return {
        "operations": int(costs["flops"]),
        "bytes_accessed": int(costs["bytes accessed"]),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "memory_bytes": memory(compiled),
    }


if __name__ == "__main__":
    steps = {name: measured(name) for name in NETWORKS}
    FILE.write_text(json.dumps({"jax": jax.__version__, "steps": steps}, indent=2) + "\n")
