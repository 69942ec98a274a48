// Multi-scale deformable attention as one lane of a GPU computes it. The same text is compiled by NVRTC, by
// nvcc and, for tests without a GPU, by a host compiler.
//
// A lane makes kLane neighbouring channels of one (image, query, head). Neighbouring lanes make neighbouring channels, so
// loads and stores of a warp touch whole cache lines, 16 bytes per lane. The lanes of a query and head share the work on
// its samples: each finds the corners of some, and the others ask it for them.
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

// A sample: the row of its first corner, a bit for every corner inside, its shares of the right and of the lower
// corners, and what it counts.
struct Spot {
  int row;
  unsigned inside;
  float right, lower, weight;
};

template <class Samples>
HYPERSEG_INLINE Spot spot_of(const Layer& layer, const Samples& samples, int level, int point) {
  const int sample = level * layer.points + point;
  const int height = layer.levels.height[level], width = layer.levels.width[level];
  const Neighbours x = samples.x(level, sample, width), y = samples.y(level, sample, height);
  const Corners found = corners(x, y, height, width);
  unsigned inside = 0;
HYPERSEG_UNROLL
  for (int corner = 0; corner < 4; ++corner) inside |= found.inside[corner] << corner;
  return {found.row, x.any_inside && y.any_inside ? inside : 0, x.high_share, y.high_share, samples.weight(sample)};
}

// What lane `sharer` of an item found. With kSharers 1 every lane finds all.
template <int kSharers>
HYPERSEG_INLINE Spot from_lane(const Spot& own, int sharer) {
  if constexpr (kSharers == 1) {
    return own;
  } else {
    const int place = shuffled<kSharers>(own.row * 16 + static_cast<int>(own.inside), sharer);
    return {place >> 4, static_cast<unsigned>(place & 15), shuffled<kSharers>(own.right, sharer),
            shuffled<kSharers>(own.lower, sharer), shuffled<kSharers>(own.weight, sharer)};
  }
}

// kLane channels of one query and head. `value` points at the first of them in row 0 of the image, `output` at
// their place in the result; `sharer` counts the lanes of an item, of which all have to be here.
template <class T, int kLane, int kSharers, class Samples>
HYPERSEG_INLINE void attend(const Layer& layer, int sharer, const T* value, const Samples& samples, T* output) {
  using Lane = Pack<T, kLane>;
  using LaneWords = Words<T, kLane>;
  const int stride = layer.heads * layer.channels / kLane;  // of rows, in packs
  float sums[kLane] = {};
  float total = 0.0f;
HYPERSEG_UNROLL
  for (int level = 0; level < layer.levels.count; ++level) {
    const int width = layer.levels.width[level];
    const LaneWords* map = reinterpret_cast<const LaneWords*>(value) + layer.levels.first_row[level] * stride;
HYPERSEG_UNROLL
    for (int first = 0; first < layer.points; first += kSharers) {
      const int mine = first + sharer % kSharers;
      const Spot own = spot_of(layer, samples, level, mine < layer.points ? mine : layer.points - 1);
HYPERSEG_UNROLL
      for (int point = first; point < first + kSharers && point < layer.points; ++point) {
        const Spot spot = from_lane<kSharers>(own, point - first);
        total += spot.weight;
        if (!spot.inside) continue;
        const LaneWords* pixel = map + spot.row * stride;
        LaneWords pixels[4];  // all four loads are under way before the first is needed
        HYPERSEG_UNROLL
        for (int corner = 0; corner < 4; ++corner) {
          pixels[corner] = {};
          if (spot.inside >> corner & 1) pixels[corner] = pixel[corner_offset(corner, width) * stride];
        }
        const float lower = spot.weight * spot.lower, upper = spot.weight - lower;
        const float shares[4] = {upper - upper * spot.right, upper * spot.right, lower - lower * spot.right,
                                 lower * spot.right};
        HYPERSEG_UNROLL
        for (int corner = 0; corner < 4; ++corner)
          HYPERSEG_UNROLL
          for (int channel = 0; channel < kLane; ++channel)
            sums[channel] = fmaf(shares[corner], channel_of(pixels[corner], channel), sums[channel]);
      }
    }
  }
  const float scale = samples.scale(total);
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
template <class T, int kLane, int kSharers>
HYPERSEG_INLINE void attend_given(const Layer& layer, unsigned queries, unsigned lane, const T* value,
                                  const float* locations, const float* weights, T* output) {
  const Place<kLane> place(layer, queries, lane);
  const long long first = static_cast<long long>(place.item) * layer.samples();
  attend<T, kLane, kSharers>(layer, place.channel / kLane, head_of(layer, place, value),
                             GivenSamples{locations + 2 * first, weights + first},
                             output + static_cast<long long>(lane) * kLane);
}

// value (B, S, H, D), references (1 or B, Q, 1 or L, 2 or 4), offsets (B, Q, H, L, P, 2), logits (B, Q, H, L, P),
// output (B, Q, H, D). Strides of the references count floats; 0 repeats them.
template <class T, int kLane, int kSharers, int kReferenceSize>
HYPERSEG_INLINE void attend_projected(const Layer& layer, unsigned queries, unsigned lane, int image_stride,
                                      int level_stride, const T* value, const float* references, const T* offsets,
                                      const T* logits, T* output) {
  const Place<kLane> place(layer, queries, lane);
  const long long first = static_cast<long long>(place.item) * layer.samples();
  const int query_stride = level_stride ? level_stride * layer.levels.count : kReferenceSize;
  const float* reference = references + static_cast<long long>(place.image) * image_stride + place.query * query_stride;
  const ProjectedSamples<T, kReferenceSize> samples(layer, offsets + 2 * first, logits + first, reference, level_stride);
  attend<T, kLane, kSharers>(layer, place.channel / kLane, head_of(layer, place, value), samples,
                             output + static_cast<long long>(lane) * kLane);
}

}  // namespace hyperseg
