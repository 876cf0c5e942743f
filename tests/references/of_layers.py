"""The outputs of PyTorch's layers on maps of odd and even sizes."""

import numpy as np
import torch
from reference_weights import uniform
from references.torch_networks import Arrays, channels_last
from torch.nn import functional

# Kernel, stride and padding.
CONVOLUTIONS = ((1, 2, 0), (3, 1, 1), (3, 2, 1), (5, 1, 2), (7, 2, 3), (11, 4, 2))


def layers_references() -> Arrays:
    """Their outputs, the parameters in the names."""
    arrays: Arrays = {}
    for height, width in ((6, 7), (7, 6), (8, 8), (9, 11), (15, 16)):
        maps = uniform(f"maps {height} {width}", (2, height, width, 3)).astype(np.float64)
        x = torch.from_numpy(maps.transpose(0, 3, 1, 2).copy())
        outputs = {}
        for window, stride, padding in ((2, 2, 0), (2, 2, 1), (3, 2, 0), (3, 2, 1), (3, 1, 1)):
            for ceil in (False, True):
                outputs[f"max_pool/{window}/{stride}/{padding}/{ceil:d}"] = functional.max_pool2d(
                    x, window, stride, padding, ceil_mode=ceil
                )
        for window, stride in ((2, 2), (3, 2), (5, 3), (5, 1)):
            outputs[f"average_pool/{window}/{stride}"] = functional.avg_pool2d(x, window, stride)
        for size in (1, 4, 6, 7):
            outputs[f"adaptive_average_pool/{size}"] = functional.adaptive_avg_pool2d(x, size)
        for size, stride, padding in CONVOLUTIONS:
            kernel = uniform(f"kernel {size}", (size, size, 3, 4)).transpose(3, 2, 0, 1)
            if min(height, width) + 2 * padding >= size:
                outputs[f"convolution/{size}/{stride}/{padding}"] = functional.conv2d(
                    x, torch.from_numpy(kernel.copy()).double(), None, stride, padding
                )
        arrays |= {f"{height}x{width}/{name}": channels_last(y) for name, y in outputs.items()}
    for channels in (1, 3, 8):
        maps = 10 * uniform(f"maps of {channels} channels", (2, 3, 4, channels)).astype(np.float64)
        x = torch.from_numpy(maps.transpose(0, 3, 1, 2).copy())
        for n, alpha, beta, k in ((5, 5e-4, 0.75, 2.0), (4, 1e-2, 0.5, 1.0), (3, 1.0, 0.75, 1.0)):
            arrays[f"local_response_norm/{channels}/{n}/{alpha}/{beta}/{k}"] = channels_last(
                functional.local_response_norm(x, n, alpha, beta, k)
            )
    return arrays
