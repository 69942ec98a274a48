"""CUDA source of the resize: a thread for every number of the result. The arithmetic stands in csrc/resize.h."""

from pathlib import Path

from hyperseg_kernels.cuda.source import THREADS_PER_BLOCK, ValueType, header_texts

SOURCES = Path(__file__).parent / "csrc"


def headers() -> dict[str, str]:
    """Name -> text of every file that the kernels include."""
    return header_texts(SOURCES, "resize.h")


def name(value_type: ValueType) -> str:
    return f"pillow_resize_{value_type}"


def program(*value_types: ValueType) -> str:
    """A translation unit with one kernel per type. Arguments: pixels, index and weight of the first rows, the columns
    and the last rows, int32 numbers of the result, height, width, channels, taps and size of each table, then resized;
    layouts as in `reference`."""
    kernels = (_KERNEL.format(name=name(one), value=one.cpp, threads=THREADS_PER_BLOCK) for one in value_types)
    return '#include "resize.h"\nusing namespace hyperseg;\n' + "".join(kernels)


_KERNEL = """
extern "C" __global__ void __launch_bounds__({threads}) {name}(
    const {value}* __restrict__ pixels, const int* __restrict__ first_index, const int* __restrict__ first_weight,
    const int* __restrict__ column_index, const int* __restrict__ column_weight, const int* __restrict__ last_index,
    const int* __restrict__ last_weight, int numbers, int height, int width, int channels, int first_taps, int first,
    int column_taps, int columns, int last_taps, int last, {value}* resized) {{
  const Resize<{value}> all = {{pixels, height, width, channels, {{first_index, first_weight, first_taps, first}},
                               {{column_index, column_weight, column_taps, columns}},
                               {{last_index, last_weight, last_taps, last}}, resized}};
  const long long place = static_cast<long long>(blockIdx.x) * {threads} + threadIdx.x;
  if (place < numbers) resize_one(all, place);
}}
"""
