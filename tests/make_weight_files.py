"""Makes the files of tests/weights with the programs that users make such files with.

    pip install torch==2.13.0 safetensors keras==3.15.1 h5py
    KERAS_BACKEND=torch python tests/make_weight_files.py torch keras

and, each in an environment of its own, for the forms that older Keras wrote:

    pip install keras==3.5.0 jax "numpy<2" packaging    KERAS_BACKEND=jax ... keras
    pip install tensorflow-cpu==2.15.1                                    ... keras
    pip install tensorflow-cpu==2.13.1 "ml_dtypes<0.3"                   ... keras

The tests need none of these: they compare with ``TENSORS`` and ``VARIABLES``.
"""

import sys
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np

FOLDER = Path(__file__).parent / "weights"


def numbers(name, shape, dtype="float32"):
    """Small whole numbers that depend on the name, exact in every type."""
    count = int(np.prod(shape, dtype=int))
    values = (np.arange(count) * 7 + zlib.crc32(name.encode())) % 120
    return values.reshape(shape).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


TENSORS = {
    name: numbers(name, *shape_and_dtype)
    for name, shape_and_dtype in {
        "features.0.weight": ((2, 3, 3, 3),),
        "features.0.bias": ((2,),),
        "features.1.num_batches_tracked": ((), "int64"),
        "features.2.weight": ((2, 3, 2, 2),),
        "transposed": ((3, 4),),
        "sliced": ((2, 2),),
        "strided": ((3,), "float64"),
        "half": ((2, 2), "float16"),
        "brain": ((2, 3), "bfloat16"),
        "int8": ((3,), "int8"),
        "uint8": ((3,), "uint8"),
        "int16": ((3,), "int16"),
        "int32": ((3,), "int32"),
        "bool": ((3,), "bool"),
        "complex64": ((2,), "complex64"),
        "empty": ((0, 3),),
    }.items()
}
TENSORS["tied"] = TENSORS["features.0.weight"]

VARIABLES = {
    name: numbers(name, shape)
    for name, shape in {
        "block1_conv1/kernel": (1, 1, 2, 2),
        "block1_conv1/bias": (2,),
        "conv1_bn/gamma": (2,),
        "conv1_bn/beta": (2,),
        "conv1_bn/moving_mean": (2,),
        "conv1_bn/moving_variance": (2,),
        "block1_conv2/kernel": (1, 1, 2, 3),
        "predictions/kernel": (3, 2),
        "predictions/bias": (2,),
    }.items()
}


def torch_state_dict():
    """TENSORS, some of them laid out in memory in other ways than in rows."""
    import torch

    def laid_out(name, tensor):
        match name:
            case "features.2.weight":
                return tensor.to(memory_format=torch.channels_last)
            case "transposed":
                return tensor.T.contiguous().T
            case "sliced":
                larger = torch.zeros(4, 5)
                larger[1:3, 2:4] = tensor
                return larger[1:3, 2:4]
            case "strided":
                return torch.stack([tensor, tensor + 1], dim=1)[:, 0]
        return tensor

    state_dict = torch.nn.Module().state_dict()
    for name, array in TENSORS.items():
        values = array.astype("float32") if name == "brain" else array
        state_dict[name] = laid_out(name, torch.tensor(values).to(getattr(torch, array.dtype.name)))
    state_dict["tied"] = state_dict["features.0.weight"]
    return state_dict


def make_torch_files():
    import safetensors.torch
    import torch

    state_dict = torch_state_dict()
    torch.save(state_dict, FOLDER / "zip.pth")
    torch.save(state_dict, FOLDER / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(state_dict, FOLDER / "protocol4.pth", pickle_protocol=4)
    torch.serialization.set_crc32_options(False)
    torch.save(state_dict, FOLDER / "unchecked.pth")
    torch.serialization.set_crc32_options(True)

    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(numbers(name, parameter.shape)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.01
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(numbers(name, parameter.shape)))
    parallel = torch.nn.DataParallel(model).state_dict()
    training = {"epoch": 3, "best": 0.5, "optimizer": optimizer.state_dict()}
    torch.save({**training, "state_dict": parallel}, FOLDER / "training.pth")
    torch.save({"model": model.state_dict(keep_vars=True)}, FOLDER / "parameters.pth")
    torch.save(model, FOLDER / "whole_model.pth")
    torch.jit.save(torch.jit.script(model), FOLDER / "torchscript.pt")

    contiguous = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in state_dict.items()
    }
    safetensors.torch.save_file(contiguous, FOLDER / "torch.safetensors", {"format": "pt"})


def keras_model(dtype="float32"):
    from keras import Model, layers

    inputs = layers.Input((4, 4, 2))
    x = layers.Conv2D(2, 1, dtype=dtype, name="block1_conv1")(inputs)
    x = layers.BatchNormalization(dtype=dtype, name="conv1_bn")(x)
    x = layers.Conv2D(3, 1, use_bias=False, dtype=dtype, name="block1_conv2")(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    model = Model(inputs, layers.Dense(2, dtype=dtype, name="predictions")(x))
    for layer in model.layers:
        names = [name for name in VARIABLES if name.startswith(f"{layer.name}/")]
        layer.set_weights([VARIABLES[name] for name in names])
    return model


def make_keras_files():
    import keras

    stem = str(FOLDER / f"keras-{keras.__version__}")
    model = keras_model()
    model.compile("sgd", "mse")  # whose state is saved too
    model.save_weights(f"{stem}.weights.h5")
    nested = keras.Sequential([keras_model(), keras.layers.Dense(1, name="head")])
    nested.build((None, 4, 4, 2))
    nested.layers[-1].set_weights([numbers("head/kernel", (2, 1)), numbers("head/bias", (1,))])
    if keras.__version__ == "2.15.0":
        model.save_weights(f"{stem}.h5")
        model.save(f"{stem}-whole.h5")
        nested.save(f"{stem}-nested.h5")
    if keras.__version__ == "3.15.1":
        model.save(f"{stem}-whole.h5")
        nested.save_weights(f"{stem}-nested.weights.h5")
        keras_model("bfloat16").save_weights(f"{stem}-bfloat16.weights.h5")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for program in sys.argv[1:]:
        {"torch": make_torch_files, "keras": make_keras_files}[program]()
