// Launch of the kernels in resize_kernels.cu.
#pragma once

#include <cuda_runtime_api.h>

#include "resize.h"

namespace hyperseg {

// All numbers of `images` images; T is float, Half or BFloat16.
template <class T>
cudaError_t launch_resize(const Resize<T>& all, long long images, cudaStream_t stream);

}  // namespace hyperseg
