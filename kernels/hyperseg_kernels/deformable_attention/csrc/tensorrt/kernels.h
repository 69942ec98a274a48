// Launch of the kernels in kernels.cu.
#pragma once

#include <cuda_runtime_api.h>

#include "../lane.h"

namespace hyperseg {

// Deformable attention of a batch: value (B, S, H, D), locations (B, Q, H, L, P, 2), weights (B, Q, H, L, P),
// output (B, Q, H, D). T is float, Half or BFloat16. Pointers are on the device and aligned to 16 bytes.
template <class T>
cudaError_t launch_given(const Layer& layer, long long batch, long long queries, const void* value,
                         const float* locations, const float* weights, void* output, cudaStream_t stream);

}  // namespace hyperseg
