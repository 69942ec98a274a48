// Launch of the kernels in attention_kernels.cu.
#pragma once

#include <cuda_runtime_api.h>

#include "lane.h"

namespace hyperseg {

// Deformable attention of a batch: value (B, S, H, D), output (B, Q, H, D). T is float, Half or BFloat16. Pointers are
// on the device and aligned to 16 bytes.
struct AttentionBatch {
  Layer layer;
  long long images, queries;
};

// locations (B, Q, H, L, P, 2), weights (B, Q, H, L, P).
template <class T>
cudaError_t launch_given(const AttentionBatch& batch, const void* value, const float* locations, const float* weights,
                         void* output, cudaStream_t stream);

// references (1 or B, Q, 1 or L, reference_size), offsets (B, Q, H, L, P, 2), logits (B, Q, H, L, P). Strides count the
// floats between the references of two images and two levels; 0 when they share one.
template <class T>
cudaError_t launch_projected(const AttentionBatch& batch, int reference_size, int image_stride, int level_stride,
                             const void* value, const float* references, const void* offsets, const void* logits,
                             void* output, cudaStream_t stream);

}  // namespace hyperseg
