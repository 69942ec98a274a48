// Multi-scale deformable attention as one lane of a GPU computes it. The same text is compiled by NVRTC, by
// nvcc and, for tests without a GPU, by a host compiler.
//
// A lane makes kLane neighbouring channels of one (image, query, head). Neighbouring lanes make neighbouring
// channels, so loads and stores of a warp touch whole cache lines, 16 bytes per lane.
#pragma once

#include "sampling.h"

namespace hyperseg {

// 16-bit floats by their bits, so that no header of CUDA is needed.
struct Half {
  unsigned short bits;
};
struct BFloat16 {
  unsigned short bits;
};

template <class To, class From>
HYPERSEG_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "the bits are copied");
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

HYPERSEG_INLINE float to_float(float value) { return value; }
HYPERSEG_INLINE float to_float(BFloat16 value) { return bits_as<float>(static_cast<unsigned>(value.bits) << 16); }
HYPERSEG_INLINE void from_float(float value, float& result) { result = value; }
HYPERSEG_INLINE void from_float(float value, BFloat16& result) {  // to nearest, ties to even
  const unsigned bits = bits_as<unsigned>(value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  result.bits = static_cast<unsigned short>(nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#ifdef __CUDACC__
HYPERSEG_INLINE float to_float(Half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
HYPERSEG_INLINE void from_float(float value, Half& result) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
}
#else
HYPERSEG_INLINE float to_float(Half value) { return static_cast<float>(bits_as<_Float16>(value)); }
HYPERSEG_INLINE void from_float(float value, Half& result) { result = bits_as<Half>(static_cast<_Float16>(value)); }
#endif

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

// What is fixed for one layer of a network.
struct Layer {
  int heads, channels, points;  // channels per head
  Levels levels;

  HYPERSEG_INLINE int samples() const { return levels.count * points; }
};

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

// Samples whose locations and weights are given: locations (L, P, 2) in units of the level's size, weights (L, P).
struct GivenSamples {
  const float* locations;
  const float* weights;

  HYPERSEG_INLINE float weight(int sample) const { return weights[sample]; }
  HYPERSEG_INLINE float scale() const { return 1.0f; }
  HYPERSEG_INLINE Neighbours x(int, int sample, int width) const {
    return neighbours(locations[2 * sample], width, 0.0f);
  }
  HYPERSEG_INLINE Neighbours y(int, int sample, int height) const {
    return neighbours(locations[2 * sample + 1], height, 0.0f);
  }
};

// Samples as a network projects them (Deformable DETR, arXiv 2010.04159, section 4.1 and appendix A.4): weights are
// the softmax of logits (L, P); offsets (L, P, 2) are in pixels of the level when the reference (L, 2) is a point
// x, y, and in half box sizes over P when it is a box x, y, width, height. Softmax needs no second pass and no
// storage: terms are summed while they are used, and the sum divides the result.
template <class T, int kReferenceSize>
struct ProjectedSamples {
  const T* offsets;
  const T* logits;
  const float* references;
  int reference_stride;  // between levels; 0 when all levels share one
  float points;
  float highest;
  float sum = 0.0f;

  HYPERSEG_INLINE ProjectedSamples(const Layer& layer, const T* offsets, const T* logits, const float* references,
                                   int reference_stride)
      : offsets(offsets),
        logits(logits),
        references(references),
        reference_stride(reference_stride),
        points(static_cast<float>(layer.points)),
        highest(to_float(logits[0])) {
    for (int sample = 1; sample < layer.samples(); ++sample) highest = fmaxf(highest, to_float(logits[sample]));
  }

  HYPERSEG_INLINE float weight(int sample) {
    const float term = expf(to_float(logits[sample]) - highest);
    sum += term;
    return term;
  }
  HYPERSEG_INLINE float scale() const { return 1.0f / sum; }
  HYPERSEG_INLINE Neighbours x(int level, int sample, int width) const { return along(level, 0, sample, width); }
  HYPERSEG_INLINE Neighbours y(int level, int sample, int height) const { return along(level, 1, sample, height); }

 private:
  HYPERSEG_INLINE Neighbours along(int level, int axis, int sample, int size) const {
    const float* reference = references + level * reference_stride;
    float shift_px = to_float(offsets[2 * sample + axis]);
    if (kReferenceSize == 4) shift_px *= 0.5f / points * reference[2 + axis] * static_cast<float>(size);
    return neighbours(reference[axis], size, shift_px);
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
