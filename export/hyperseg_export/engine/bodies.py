"""Bodies of our own operators as engines take them: weighted sums in place of small matrix products.

A body of deformable attention adds up the corners of every query with a product of one row: 172,032 of 1 x 16 by
16 x 32 for one level at full size. A compiler of kernels can put a multiplication and a sum into one kernel with the
gathers before them; a product is a call of its own, of a size that no library is made for. On a CPU it is the other way
round (sums took 1.4 times as long in 9 interleaved pairs on two threads, results equal bit by bit;
bench_deformable_attention.py --bodies), so the files keep products and only engines are built from sums. What that
gains on a GPU is not measured.
"""

from typing import Any

from hyperseg_kernels.catalog import OPERATORS

PRODUCT = "MatMul"


def sum_products(model: Any) -> int:
    """Rewrite products in the bodies of our operators in the ONNX `model`, in place; returns how many there were.

    (.., 1, K) by (.., K, D) becomes a multiplication of (.., K, 1) with (.., K, D) and a sum over K: the same
    numbers in the same types, added up in an order that the runtime chooses in both.
    """
    own = {(operator.domain, operator.name) for operator in OPERATORS}
    found = 0
    for function in model.functions:
        if (function.domain, function.name) in own:
            found += _sum_products(function)
    return found


def _sum_products(function: Any) -> int:
    import onnx

    nodes, found = [], 0
    for node in function.node:
        if node.op_type != PRODUCT:
            nodes.append(node)
            continue
        found += 1
        (row, samples), (output,) = node.input, node.output
        last, before = f"{output}.last", f"{output}.before"
        nodes += [
            onnx.helper.make_node("Constant", [], [last], value_ints=[-1]),
            onnx.helper.make_node("Constant", [], [before], value_ints=[-2]),
            onnx.helper.make_node("Squeeze", [row, before], [f"{output}.flat"]),
            onnx.helper.make_node("Unsqueeze", [f"{output}.flat", last], [f"{output}.column"]),
            onnx.helper.make_node("Mul", [samples, f"{output}.column"], [f"{output}.parts"]),
            onnx.helper.make_node("ReduceSum", [f"{output}.parts", before], [output], keepdims=1),
        ]
    del function.node[:]
    function.node.extend(nodes)
    return found
