// Multi-scale deformable attention on a CPU: gather the corners of one query and head, then sum rows. Sums are float32.
#pragma once

#include <cstdint>
#include <vector>

#include "ort_op.h"
#include "samples.h"

namespace hyperseg {

template <class T>
struct Corner {
  const T* row;
  float weight;
};

constexpr int kVectorChannels = 8;
using Vector = float __attribute__((vector_size(32)));  // the compiler splits it where registers are smaller

HYPERSEG_INLINE void load(const float* from, Vector& to) { memcpy(&to, from, sizeof(to)); }
#ifdef HYPERSEG_HOST_HALF
HYPERSEG_INLINE void load(const Half* from, Vector& to) {
  _Float16 __attribute__((vector_size(16))) halves;
  memcpy(&halves, from, sizeof(halves));
  to = __builtin_convertvector(halves, Vector);
}
#endif

// output[first..first + 8 * kVectors) = scale * sum of weight * row. The sums stay in registers.
template <int kVectors, class T>
HYPERSEG_INLINE void sum_vectors(const Corner<T>* begin, const Corner<T>* end, float scale, int first, T* output) {
  Vector sums[kVectors] = {};
  for (const Corner<T>* corner = begin; corner != end; ++corner)
#pragma GCC unroll 8
    for (int index = 0; index < kVectors; ++index) {
      Vector row;
      load(corner->row + first + kVectorChannels * index, row);
      sums[index] += corner->weight * row;
    }
  for (int index = 0; index < kVectors; ++index)
    for (int channel = 0; channel < kVectorChannels; ++channel)
      from_float(scale * sums[index][channel], output[first + kVectorChannels * index + channel]);
}

template <class T>
HYPERSEG_INLINE void sum_channel(const Corner<T>* begin, const Corner<T>* end, float scale, int channel, T* output) {
  float sum = 0.0f;
  for (const Corner<T>* corner = begin; corner != end; ++corner) sum += corner->weight * to_float(corner->row[channel]);
  from_float(scale * sum, output[channel]);
}

// One query and head. `head` is its first channel in row 0 of the image, `corner` has room for 4 per sample.
template <class T, class Samples>
HYPERSEG_INLINE void attend_head(const Layer& layer, const T* head, Samples samples, Corner<T>* corners_begin, T* output) {
  const Levels& levels = layer.levels;
  const int64_t stride = int64_t{layer.heads} * layer.channels;
  Corner<T>* end = corners_begin;
  int sample = 0;
  float sum = 0.0f;
  for (int level = 0; level < levels.count; ++level) {
    const int height = levels.height[level], width = levels.width[level];
    const T* map = head + levels.first_row[level] * stride;
    for (int point = 0; point < layer.points; ++point, ++sample) {
      const float weight = samples.weight(sample);
      sum += weight;
      const Neighbours x = samples.x(level, sample, width), y = samples.y(level, sample, height);
      if (!x.any_inside || !y.any_inside) continue;
      const Corners found = corners(x, y, height, width);
      for (int corner = 0; corner < 4; ++corner)
        if (found.inside[corner])
          *end++ = {map + (found.row + corner_offset(corner, width)) * stride, found.weight[corner] * weight};
    }
  }
  const float scale = samples.scale(sum);
  int channel = 0;
  for (; channel + 32 <= layer.channels; channel += 32) sum_vectors<4>(corners_begin, end, scale, channel, output);
  for (; channel + 8 <= layer.channels; channel += 8) sum_vectors<1>(corners_begin, end, scale, channel, output);
  for (; channel < layer.channels; ++channel) sum_channel(corners_begin, end, scale, channel, output);
}

// Queries [first, last) of one image. `samples_of(query, item)` makes the samples of one query and head; `item` counts
// (query, head). value (S, H, D), output (Q, H, D).
template <class T, class SamplesOf>
HYPERSEG_INLINE void attend_queries(const Layer& layer, const T* value, T* output, int64_t first, int64_t last,
                                    const SamplesOf& samples_of) {
  std::vector<Corner<T>> buffer(4 * layer.samples());
  for (int64_t query = first; query < last; ++query)
    for (int head = 0; head < layer.heads; ++head) {
      const int64_t item = query * layer.heads + head;
      attend_head(layer, value + head * layer.channels, samples_of(query, item), buffer.data(),
                  output + item * layer.channels);
    }
}

}  // namespace hyperseg
