"""Multiply-adds, counted operation by operation of a traced network.

The rule is the one that published counts follow (fvcore's): convolutions and matrix products count,
a multiplication and its addition as one, and nothing else does: no bias, normalisation, pool or
activation. A product with a constant is none of them: it is how an average may be written.
"""

import math

from jaxcnn.inspection.receptive_fields import Operation


def variable_elements(operation: Operation, variable: list[int]) -> int:
    """How many elements of an operation's output are not constants; at most, where it is not clear.

    A kernel some of whose connections are left out is such an array: zeros and parameters.

    Args:
      operation: it.
      variable: the same of its inputs.
    """
    size = math.prod(operation.output)
    if not any(variable):
        return 0
    if operation.name in ("reshape", "transpose", "squeeze", "convert_element_type", "pad", "name"):
        return min(variable[0], size)
    if operation.name == "scatter" and not variable[0]:
        return min(variable[2], size)
    return size


def multiply_adds(operation: Operation, variable: list[int]) -> int:
    """The multiply-adds of an operation.

    Args:
      operation: it.
      variable: how many elements of its inputs are not constants.
    """
    if operation.name == "conv_general_dilated" and all(variable):
        numbers = operation.params["dimension_numbers"]
        shape, axes = operation.output, numbers.out_spec
        if any(step != 1 for step in operation.params["lhs_dilation"]):
            # Transposed, it is each position of the input that meets the kernel.
            shape, axes = operation.inputs[0], numbers.lhs_spec
        batch, _, *places = axes
        return math.prod(shape[axis] for axis in (batch, *places)) * variable[1]
    if operation.name == "dot_general" and all(variable):
        contracted, _ = operation.params["dimension_numbers"]
        summed = math.prod(operation.inputs[0][axis] for axis in contracted[0])
        return math.prod(operation.output) * summed
    return 0
