// Reading a mask out of a network's logits: resample to the image, threshold, add up the certainty inside. The same
// text is compiled by NVRTC, by nvcc and by a host compiler.
//
// A row of the image is read by kLanes lanes (a warp of a GPU; one on a CPU) in two steps: `combine` makes one line
// of the network's width out of the source rows, `count` and `mark` resample along it. Sums are those of reference.py.
#pragma once

#include "device.h"

namespace hyperseg {

constexpr int kTaps = 4;

// One axis of the way from the logits to the image: position p takes weight[k * size + p] of source pixel
// index[k * size + p], for k below kTaps. Weights are not negative.
struct Axis {
  const int* index;
  const float* weight;
  int size;
};

// What the pixels of a mask add up to; an image has less than 2^31.
struct Statistics {
  double sum = 0.0;  // of sigmoid(logit) over pixels inside
  int area = 0;
};

#ifndef __CUDACC__
// exp(x) for x <= 0, within 2 units in the last place; below -87 about 1e-38. Plain arithmetic: a host compiler
// makes vectors of it.
HYPERSEG_INLINE float exp_of_negative(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float clamped = x > -87.0f ? x : -87.0f;
  const float power = (clamped * 1.44269504f + kRound) - kRound;
  const float rest = fmaf(power, 2.12194440e-4f, fmaf(power, -0.693359375f, clamped));  // ln 2 in two parts
  float series = 1.38888889e-3f;
  series = fmaf(series, rest, 8.33333333e-3f);
  series = fmaf(series, rest, 4.16666667e-2f);
  series = fmaf(series, rest, 1.66666667e-1f);
  series = fmaf(series, rest, 0.5f);
  series = fmaf(series, rest, 1.0f);
  series = fmaf(series, rest, 1.0f);
  return series * bits_as<float>((static_cast<int>(power) + 127) << 23);
}
#endif

// Within 4 units in the last place. A GPU has both parts in hardware (CUDA C++ Programming Guide, "Intrinsic Functions").
#ifdef __CUDACC__
HYPERSEG_INLINE float sigmoid_of_positive(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
#else
HYPERSEG_INLINE float sigmoid_of_positive(float x) { return 1.0f / (1.0f + exp_of_negative(-x)); }
#endif

// line[0..width) = row `row` of the image at the network's width. False when no pixel of the row can be inside:
// weights are not negative, so it needs a positive value on the line.
template <class T, int kLanes>
HYPERSEG_INLINE bool combine(const T* source, int width, const Axis& rows, int row, int lane, float* line) {
  const T* taps[kTaps];
  float weight[kTaps];
HYPERSEG_UNROLL
  for (int tap = 0; tap < kTaps; ++tap) {
    taps[tap] = source + static_cast<long long>(rows.index[tap * rows.size + row]) * width;
    weight[tap] = rows.weight[tap * rows.size + row];
  }
  int positive = 0;
  HYPERSEG_SIMD("omp simd reduction(| : positive)")
  for (int column = lane; column < width; column += kLanes) {
    float value = weight[0] * to_float(taps[0][column]);
    value = fmaf(weight[1], to_float(taps[1][column]), value);
    value = fmaf(weight[2], to_float(taps[2][column]), value);
    value = fmaf(weight[3], to_float(taps[3][column]), value);
    line[column] = value;
    positive |= value > 0.0f;
  }
  return positive != 0;
}

// The values of a column on kRows lines, which lie `width` apart: its taps are read once for all.
template <int kRows>
struct Column {
  float logit[kRows];

  HYPERSEG_INLINE Column(const float* lines, int width, const Axis& columns, int column) : logit{} {
HYPERSEG_UNROLL
    for (int tap = 0; tap < kTaps; ++tap) {
      const int place = tap * columns.size + column, index = columns.index[place];
      const float weight = columns.weight[place];
HYPERSEG_UNROLL
      for (int row = 0; row < kRows; ++row) logit[row] = fmaf(weight, lines[row * width + index], logit[row]);
    }
  }
};

// Adds what this lane finds on kRows lines; float sums are kept short, where many equal terms would lean one way.
template <int kLanes, int kRows>
HYPERSEG_INLINE void count(const float* lines, int width, const Axis& columns, int lane, Statistics& statistics) {
  constexpr int kTerms = 128 / kRows;
  for (int first = lane; first < columns.size; first += kTerms * kLanes) {
    const int end = first + kTerms * kLanes < columns.size ? first + kTerms * kLanes : columns.size;
    float sum = 0.0f;
    int area = 0;
    HYPERSEG_SIMD("omp simd reduction(+ : sum, area)")
    for (int column = first; column < end; column += kLanes) {
      const Column<kRows> found(lines, width, columns, column);
HYPERSEG_UNROLL
      for (int row = 0; row < kRows; ++row) {
        const bool inside = found.logit[row] > 0.0f;  // NaN is not
        sum += inside ? sigmoid_of_positive(found.logit[row]) : 0.0f;
        area += inside;
      }
    }
    statistics.sum += sum;
    statistics.area += area;
  }
}

template <int kLanes>
HYPERSEG_INLINE void mark(const float* line, const Axis& columns, int lane, bool* pixels) {
  HYPERSEG_SIMD("omp simd")
  for (int column = lane; column < columns.size; column += kLanes)
    pixels[column] = Column<1>(line, 0, columns, column).logit[0] > 0.0f;
}

template <int kLanes>
HYPERSEG_INLINE void clear(const Axis& columns, int lane, bool* pixels) {
  for (int column = lane; column < columns.size; column += kLanes) pixels[column] = false;
}

}  // namespace hyperseg
