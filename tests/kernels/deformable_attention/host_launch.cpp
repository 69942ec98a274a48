// Launch shim: runs the lanes of the GPU kernels one after another on the host, so that their arithmetic can be
// compared with the reference without a GPU.
#include "lane.h"

using namespace hyperseg;

namespace {

template <class T, int kLane>
void given(const Layer& layer, unsigned lanes, unsigned queries, const void* value, const float* locations,
           const float* weights, void* output) {
  for (unsigned lane = 0; lane < lanes; ++lane)
    attend_given<T, kLane, 1>(layer, queries, lane, static_cast<const T*>(value), locations, weights,
                           static_cast<T*>(output));
}

template <class T, int kLane>
void projected(const Layer& layer, unsigned lanes, unsigned queries, int reference_size, int image_stride,
               int level_stride, const void* value, const float* references, const void* offsets, const void* logits,
               void* output) {
  const auto run = reference_size == 2 ? attend_projected<T, kLane, 1, 2> : attend_projected<T, kLane, 1, 4>;
  for (unsigned lane = 0; lane < lanes; ++lane)
    run(layer, queries, lane, image_stride, level_stride, static_cast<const T*>(value), references,
        static_cast<const T*>(offsets), static_cast<const T*>(logits), static_cast<T*>(output));
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))
#define SHIM(NAME, T, LANE)                                                                                          \
  EXPORT void given_##NAME##_##LANE(const Layer* layer, unsigned lanes, unsigned queries, const void* value,         \
                                    const float* locations, const float* weights, void* output) {                    \
    given<T, LANE>(*layer, lanes, queries, value, locations, weights, output);                                       \
  }                                                                                                                  \
  EXPORT void projected_##NAME##_##LANE(const Layer* layer, unsigned lanes, unsigned queries, int reference_size,    \
                                        int image_stride, int level_stride, const void* value,                       \
                                        const float* references, const void* offsets, const void* logits,            \
                                        void* output) {                                                              \
    projected<T, LANE>(*layer, lanes, queries, reference_size, image_stride, level_stride, value, references,        \
                       offsets, logits, output);                                                                     \
  }

SHIM(float32, float, 1)
SHIM(float32, float, 2)
SHIM(float32, float, 4)
SHIM(float16, Half, 1)
SHIM(float16, Half, 2)
SHIM(float16, Half, 4)
SHIM(float16, Half, 8)
SHIM(bfloat16, BFloat16, 1)
SHIM(bfloat16, BFloat16, 2)
SHIM(bfloat16, BFloat16, 4)
SHIM(bfloat16, BFloat16, 8)
