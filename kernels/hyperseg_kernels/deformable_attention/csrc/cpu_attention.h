// Multi-scale deformable attention on a CPU, float32: gather the corners of one query and head, then sum rows.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "sampling.h"

// One machine-code version per instruction set, chosen when the library is loaded.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define HYPERSEG_PER_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HYPERSEG_PER_CPU
#endif

namespace hyperseg {

struct CpuProblem {
  int64_t rows, queries, heads, channels, points;  // of one image; channels per head
  Levels levels;
};

struct Corner {
  const float* row;
  float weight;
};

using Vector = float __attribute__((vector_size(32)));  // the compiler splits it where registers are smaller
constexpr int kVectorChannels = 8;

// output[0..8 * kVectors) = sum of weight * row. The sums stay in registers.
template <int kVectors>
HYPERSEG_INLINE void sum_vectors(const Corner* begin, const Corner* end, int64_t first, float* output) {
  Vector sums[kVectors] = {};
  for (const Corner* corner = begin; corner != end; ++corner)
#pragma GCC unroll 8
    for (int index = 0; index < kVectors; ++index) {
      Vector row;
      std::memcpy(&row, corner->row + first + kVectorChannels * index, sizeof(row));
      sums[index] += corner->weight * row;
    }
  std::memcpy(output + first, sums, sizeof(sums));
}

HYPERSEG_INLINE void sum_channel(const Corner* begin, const Corner* end, int64_t channel, float* output) {
  float sum = 0.0f;
  for (const Corner* corner = begin; corner != end; ++corner) sum += corner->weight * corner->row[channel];
  output[channel] = sum;
}

// Queries [first, last) of one image. value (S, H, D), locations (Q, H, L, P, 2), weights (Q, H, L, P),
// output (Q, H, D).
HYPERSEG_PER_CPU inline void attend_queries(const CpuProblem& problem, const float* value, const float* locations,
                                            const float* weights, float* output, int64_t first, int64_t last) {
  const Levels& levels = problem.levels;
  const int64_t samples = levels.count * problem.points, width = problem.heads * problem.channels;
  std::vector<Corner> buffer(4 * samples);
  for (int64_t item = first * problem.heads; item < last * problem.heads; ++item) {
    const float *location = locations + item * samples * 2, *weight = weights + item * samples;
    const float* head = value + item % problem.heads * problem.channels;
    Corner* end = buffer.data();
    for (int level = 0; level < levels.count; ++level) {
      const int height = levels.height[level], level_width = levels.width[level];
      const float* map = head + levels.first_row[level] * width;
      for (int64_t point = 0; point < problem.points; ++point, location += 2, ++weight) {
        const Neighbours x = neighbours(location[0], level_width, 0.0f), y = neighbours(location[1], height, 0.0f);
        if (!x.any_inside || !y.any_inside) continue;
        const Corners found = corners(x, y, height, level_width);
        for (int corner = 0; corner < 4; ++corner)
          if (found.inside[corner])
            *end++ = {map + (found.row + corner_offset(corner, level_width)) * width, found.weight[corner] * *weight};
      }
    }
    float* sum = output + item * problem.channels;
    int64_t channel = 0;
    for (; channel + 32 <= problem.channels; channel += 32) sum_vectors<4>(buffer.data(), end, channel, sum);
    for (; channel + 8 <= problem.channels; channel += 8) sum_vectors<1>(buffer.data(), end, channel, sum);
    for (; channel < problem.channels; ++channel) sum_channel(buffer.data(), end, channel, sum);
  }
}

}  // namespace hyperseg
