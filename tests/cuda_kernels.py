"""Kernels of ONNX Runtime's CUDA provider for the operators of our graphs, as its own table lists them.

Source: microsoft/onnxruntime, docs/OperatorKernels.md ("Operators implemented by CUDAExecutionProvider", domain
ai.onnx), read at commit 001d12d2623fd411ce0f83d05abb5e82304a3389; that of 1.31.1 itself (6af1a93) was not at hand.
Taken is the newest range of opsets of each operator, which holds the one that graphs are written in.
"""

F = frozenset({"float", "float16", "double"})
BF = F | {"bfloat16"}
WHOLE = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
WIDE = frozenset({"int32", "int64", "uint32", "uint64"})
ANY = BF | WHOLE | {"bool"}

CUDA_KERNELS = {
    "Abs": BF | WHOLE,
    "Add": BF | WHOLE,
    "And": frozenset({"bool"}),
    "Attention": frozenset({"float", "float16", "bfloat16"}),
    "Cast": ANY,
    "Clip": F | {"int8", "int64", "uint8", "uint64"},
    "Concat": ANY,
    "Conv": BF,
    "ConvTranspose": F,
    "Cos": F,
    "Div": BF | WHOLE,
    "Equal": F | WIDE | {"bool"},
    "Exp": F,
    "Expand": ANY,
    "Floor": F,
    "Gather": ANY,
    "GatherElements": ANY,
    "GatherND": BF | {"bool", "int64"},
    "Gelu": BF,
    "Greater": F | WIDE,
    "GreaterOrEqual": F | WIDE,
    "Identity": ANY,
    "LayerNormalization": BF,
    "Less": F | WIDE,
    "LessOrEqual": F | WIDE,
    "Log": F,
    "MatMul": BF,
    "Max": BF | WIDE,
    "MaxPool": F | {"int8", "uint8"},
    "Min": BF | WIDE,
    "Mul": BF | WHOLE,
    "Neg": F | {"int8", "int16", "int32", "int64"},
    "Or": frozenset({"bool"}),
    "Pad": F | {"bool"},
    "Range": frozenset({"float", "double", "int16", "int32", "int64"}),
    "Reciprocal": F,
    "ReduceL2": F | {"int32"},
    "ReduceMax": F | {"int32", "int64"},
    "ReduceMean": F | {"int32"},
    "ReduceMin": F | {"int8", "int32", "int64", "uint8"},
    "ReduceSum": BF | {"int32", "int64"},
    "Relu": BF,
    "Reshape": ANY,
    "Resize": F | {"int32", "uint8"},
    "RotaryEmbedding": frozenset({"float", "float16", "bfloat16"}),
    "Shape": ANY,
    "Sigmoid": BF,
    "Sin": F,
    "Slice": ANY,
    "Softmax": BF,
    "Split": ANY,
    "Sqrt": BF,
    "Squeeze": ANY,
    "Sub": BF | WHOLE,
    "TensorScatter": ANY,
    "TopK": F | {"int32", "int64"},
    "Transpose": ANY,
    "Unsqueeze": ANY,
    "Where": BF | {"int32", "int64", "uint8"},
}
"""Operator -> types of what it works on: its first input, of Where its second."""
