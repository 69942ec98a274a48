"""Registers, stack and spills of the CUDA kernels on every GPU architecture; needs no GPU.

    python benchmarks/kernels/kernel_resources.py

Deformable attention is compiled for the layers of the full-size pixel decoder. The last line of output is the path of
the JSON file.
"""

from dataclasses import asdict
from typing import Any

from hyperseg_bench import measure
from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.cuda.source import THREADS_PER_BLOCK, ValueType
from hyperseg_kernels.deformable_attention import cuda_source
from hyperseg_kernels.deformable_attention.cuda_source import Layer
from hyperseg_kernels.mask_readout import cuda_source as readout_source

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
FULL_SIZE = Layer(heads=8, channels=32, points=4, level_shapes=((32, 32), (64, 64), (128, 128)))


def main() -> None:
    content = {
        "compiler": f"NVRTC {nvrtc.version()}",
        "layer": asdict(FULL_SIZE),
        "threads_per_block": THREADS_PER_BLOCK,
        "kernels": {arch: resources(compiled(arch)) for arch in ARCHITECTURES},
        "mask_readout": {arch: readout(arch) for arch in ARCHITECTURES},
    }
    print(measure.write_results("kernel_resources", content))


def compiled(arch: str) -> nvrtc.Cubin:
    return nvrtc.compile_cubin(program(), cuda_source.headers(), arch)


def readout(arch: str) -> dict[str, Any]:
    """Kernels of mask readout, one per type; nothing of a network is a constant in them."""
    return resources(nvrtc.compile_cubin(readout_source.program(*ValueType), readout_source.headers(), arch))


def resources(cubin: nvrtc.Cubin) -> dict[str, Any]:
    """Kernel -> what one thread takes."""
    return {name: asdict(taken) for name, taken in sorted(cubin.resources.items())}


def program() -> str:
    """Every kernel of deformable attention: value types, given and projected samples, reference points and boxes."""
    kernels = [cuda_source.given_kernel(FULL_SIZE, value_type) for value_type in ValueType]
    kernels += [
        cuda_source.projected_kernel(FULL_SIZE, value_type, size) for value_type in ValueType for size in (2, 4)
    ]
    return cuda_source.program(FULL_SIZE, kernels)


if __name__ == "__main__":
    main()
