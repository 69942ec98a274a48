// Multi-scale deformable attention as one lane of a GPU computes it. The same text is compiled by NVRTC, by
// nvcc and, for tests without a GPU, by a host compiler.
//
// A lane makes kLane neighbouring channels of one (image, query, head). Neighbouring lanes make neighbouring
// channels, so loads and stores of a warp touch whole cache lines, 16 bytes per lane.
#pragma once

#include "samples.h"

namespace hyperseg {

template <class T, int kLane>
struct alignas(sizeof(T) * kLane) Pack {
  T channel[kLane];
};

// A pack as registers hold it, two 16-bit channels in each. Loaded as this, a pack that may be zero costs one
// instruction per register, and a channel is widened straight out of its half.
template <class T, int kLane>
struct alignas(sizeof(T) * kLane) Words {
  unsigned word[sizeof(T) * kLane / 4];
};
template <>
struct Words<Half, 1> {
  Half channel;
};
template <>
struct Words<BFloat16, 1> {
  BFloat16 channel;
};

HYPERSEG_INLINE float channel_of(const Words<Half, 1>& words, int) { return to_float(words.channel); }
HYPERSEG_INLINE float channel_of(const Words<BFloat16, 1>& words, int) { return to_float(words.channel); }
template <int kLane>
HYPERSEG_INLINE float channel_of(const Words<float, kLane>& words, int channel) {
  return bits_as<float>(words.word[channel]);
}
template <int kLane>
HYPERSEG_INLINE float channel_of(const Words<BFloat16, kLane>& words, int channel) {
  const unsigned word = words.word[channel / 2];
  return bits_as<float>(channel % 2 ? word & 0xffff0000u : word << 16);
}
template <int kLane>
HYPERSEG_INLINE float channel_of(const Words<Half, kLane>& words, int channel) {
  const unsigned word = words.word[channel / 2];
#ifdef __CUDACC__
  float result;
  if (channel % 2)
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, high; }" : "=f"(result) : "r"(word));
  else
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low; }" : "=f"(result) : "r"(word));
  return result;
#else
  return to_float(Half{static_cast<unsigned short>(word >> 16 * (channel % 2))});
#endif
}

// What one lane works on. `item` counts (image, query, head), row-major.
template <int kLane>
struct Place {
  unsigned item, image, query, head, channel;

  HYPERSEG_INLINE Place(const Layer& layer, unsigned queries, unsigned lane) {
    const unsigned lanes_per_item = layer.channels / kLane;
    item = lane / lanes_per_item;
    channel = lane % lanes_per_item * kLane;
    head = item % layer.heads;
    query = item / layer.heads % queries;
    image = item / layer.heads / queries;
  }
};

// kLane channels of one query and head. `value` points at the first of them in row 0 of the image, `output` at
// their place in the result.
template <class T, int kLane, class Samples>
HYPERSEG_INLINE void attend(const Layer& layer, const T* value, Samples samples, T* output) {
  using Lane = Pack<T, kLane>;
  using LaneWords = Words<T, kLane>;
  const int stride = layer.heads * layer.channels / kLane;  // of rows, in packs
  float sums[kLane] = {};
  int sample = 0;
HYPERSEG_UNROLL
  for (int level = 0; level < layer.levels.count; ++level) {
    const int height = layer.levels.height[level], width = layer.levels.width[level];
    const LaneWords* map = reinterpret_cast<const LaneWords*>(value) + layer.levels.first_row[level] * stride;
HYPERSEG_UNROLL
    for (int point = 0; point < layer.points; ++point, ++sample) {
      const float weight = samples.weight(sample);
      const Neighbours x = samples.x(level, sample, width), y = samples.y(level, sample, height);
      if (!x.any_inside || !y.any_inside) continue;
      const Corners found = corners(x, y, height, width);
      const LaneWords* pixel = map + found.row * stride;
      LaneWords pixels[4];  // all four loads are under way before the first is needed
      HYPERSEG_UNROLL
      for (int corner = 0; corner < 4; ++corner) {
        pixels[corner] = {};
        if (found.inside[corner]) pixels[corner] = pixel[corner_offset(corner, width) * stride];
      }
      HYPERSEG_UNROLL
      for (int corner = 0; corner < 4; ++corner) {
        const float share = weight * found.weight[corner];
        HYPERSEG_UNROLL
        for (int channel = 0; channel < kLane; ++channel)
          sums[channel] = fmaf(share, channel_of(pixels[corner], channel), sums[channel]);
      }
    }
  }
  const float scale = samples.scale();
  Lane result;
HYPERSEG_UNROLL
  for (int channel = 0; channel < kLane; ++channel) from_float(scale * sums[channel], result.channel[channel]);
  *reinterpret_cast<Lane*>(output) = result;
}

template <class T, int kLane>
HYPERSEG_INLINE const T* head_of(const Layer& layer, const Place<kLane>& place, const T* value) {
  const long long row = static_cast<long long>(place.image) * layer.levels.rows() * layer.heads + place.head;
  return value + row * layer.channels + place.channel;
}

// value (B, S, H, D), locations (B, Q, H, L, P, 2), weights (B, Q, H, L, P), output (B, Q, H, D).
template <class T, int kLane>
HYPERSEG_INLINE void attend_given(const Layer& layer, unsigned queries, unsigned lane, const T* value,
                                  const float* locations, const float* weights, T* output) {
  const Place<kLane> place(layer, queries, lane);
  const long long first = static_cast<long long>(place.item) * layer.samples();
  attend<T, kLane>(layer, head_of(layer, place, value), GivenSamples{locations + 2 * first, weights + first},
                   output + static_cast<long long>(lane) * kLane);
}

// value (B, S, H, D), references (1 or B, Q, 1 or L, 2 or 4), offsets (B, Q, H, L, P, 2), logits (B, Q, H, L, P),
// output (B, Q, H, D). Strides of the references count floats; 0 repeats them.
template <class T, int kLane, int kReferenceSize>
HYPERSEG_INLINE void attend_projected(const Layer& layer, unsigned queries, unsigned lane, int image_stride,
                                      int level_stride, const T* value, const float* references, const T* offsets,
                                      const T* logits, T* output) {
  const Place<kLane> place(layer, queries, lane);
  const long long first = static_cast<long long>(place.item) * layer.samples();
  const int query_stride = level_stride ? level_stride * layer.levels.count : kReferenceSize;
  const float* reference = references + static_cast<long long>(place.image) * image_stride + place.query * query_stride;
  attend<T, kLane>(layer, head_of(layer, place, value),
                   ProjectedSamples<T, kReferenceSize>(layer, offsets + 2 * first, logits + first, reference, level_stride),
                   output + static_cast<long long>(lane) * kLane);
}

}  // namespace hyperseg
