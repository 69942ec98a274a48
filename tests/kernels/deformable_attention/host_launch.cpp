// Launch shim: runs the lanes of the GPU kernels on the host, warp after warp, so that their arithmetic can be compared
// with the reference without a GPU.
#include "warp.h"

#include "lane.h"

using namespace hyperseg;

namespace {

// Calls run(lane) as a launch does; lanes without work do that of the first item again.
template <int kSharers, class Run>
void launch(unsigned lanes, const Run& run) {
  if constexpr (kSharers == 1) {
    for (unsigned lane = 0; lane < lanes; ++lane) run(lane);
  } else {
    static Warp warp;
    for (unsigned first = 0; first < lanes; first += kWarp)
      warp.run([&](int thread) {
        const unsigned index = first + thread;
        run(index < lanes ? index : index % kSharers);
      });
  }
}

// Calls then(sharers) with them as a constant. Only lanes of the widest load share: narrower ones are an odd number.
template <bool kWidest, class Then>
void with_sharers(int sharers, const Then& then) {
  if constexpr (!kWidest) return then(std::integral_constant<int, 1>{});
  else switch (sharers) {
    case 1: return then(std::integral_constant<int, 1>{});
    case 2: return then(std::integral_constant<int, 2>{});
    case 4: return then(std::integral_constant<int, 4>{});
    case 8: return then(std::integral_constant<int, 8>{});
    case 16: return then(std::integral_constant<int, 16>{});
    case 32: return then(std::integral_constant<int, 32>{});
  }
}

template <class T, int kLane>
void given(const Layer& layer, int sharers, unsigned lanes, unsigned queries, const void* value, const float* locations,
           const float* weights, void* output) {
  with_sharers<sizeof(T) * kLane == 16>(sharers, [&](auto count) {
    constexpr int kSharers = decltype(count)::value;
    launch<kSharers>(lanes, [&](unsigned lane) {
      attend_given<T, kLane, kSharers>(layer, queries, lane, static_cast<const T*>(value), locations, weights,
                                       static_cast<T*>(output));
    });
  });
}

template <class T, int kLane>
void projected(const Layer& layer, int sharers, unsigned lanes, unsigned queries, int reference_size, int image_stride,
               int level_stride, const void* value, const float* references, const void* offsets, const void* logits,
               void* output) {
  with_sharers<sizeof(T) * kLane == 16>(sharers, [&](auto count) {
    constexpr int kSharers = decltype(count)::value;
    const auto run = reference_size == 2 ? attend_projected<T, kLane, kSharers, 2> : attend_projected<T, kLane, kSharers, 4>;
    launch<kSharers>(lanes, [&](unsigned lane) {
      run(layer, queries, lane, image_stride, level_stride, static_cast<const T*>(value), references,
          static_cast<const T*>(offsets), static_cast<const T*>(logits), static_cast<T*>(output));
    });
  });
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))
#define SHIM(NAME, T, LANE)                                                                                          \
  EXPORT void given_##NAME##_##LANE(const Layer* layer, int sharers, unsigned lanes, unsigned queries,               \
                                    const void* value, const float* locations, const float* weights, void* output) { \
    given<T, LANE>(*layer, sharers, lanes, queries, value, locations, weights, output);                              \
  }                                                                                                                  \
  EXPORT void projected_##NAME##_##LANE(const Layer* layer, int sharers, unsigned lanes, unsigned queries,           \
                                        int reference_size, int image_stride, int level_stride, const void* value,   \
                                        const float* references, const void* offsets, const void* logits,            \
                                        void* output) {                                                              \
    projected<T, LANE>(*layer, sharers, lanes, queries, reference_size, image_stride, level_stride, value,           \
                       references, offsets, logits, output);                                                         \
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
