// Launch of the kernels in readout_kernels.cu.
#pragma once

#include <cuda_runtime_api.h>

#include "masks.h"

namespace hyperseg {

constexpr int kMaxReadoutWidth = 47 * 1024 / 8;  // as in cuda_source.py

// All queries of `images` images; T is float, Half or BFloat16.
template <class T>
cudaError_t launch_readout(const Masks<T>& all, long long images, cudaStream_t stream);

}  // namespace hyperseg
