// Bilinear sampling as every compiled form of the operator does it: CUDA kernels, TensorRT plugin, CPU op.
//
// Semantics are those of reference.py: zeros outside, pixel centres at +0.5, NaN and infinite coordinates contribute
// nothing.
// Coordinates, weights and sums are float32 whatever the type of the values.
#pragma once

#include "device.h"

namespace hyperseg {

constexpr int kMaxLevels = 32;

// Feature maps of different sizes whose rows lie one after another.
struct Levels {
  int count;
  int height[kMaxLevels];
  int width[kMaxLevels];
  int first_row[kMaxLevels];

  HYPERSEG_INLINE int rows() const {
    return first_row[count - 1] + height[count - 1] * width[count - 1];
  }
};

// The two pixels beside a coordinate along one axis: `low` has share 1 - high_share, `low + 1` has high_share.
struct Neighbours {
  int low;
  float high_share;
  bool any_inside;
};

// The coordinate is location * size + shift_px - 0.5 pixels. The product is taken twice: rounded, to find the
// pixel, and inside an fma that subtracts that pixel, so the share keeps full precision however large the map.
HYPERSEG_INLINE Neighbours neighbours(float location, int size, float shift_px) {
  const float extent = static_cast<float>(size);
  const float coordinate = fmaf(location, extent, shift_px - 0.5f);
  const bool any_inside = coordinate > -1.0f && coordinate < extent;  // NaN is not
  float low = any_inside ? floorf(coordinate) : 0.0f;
  float share = fmaf(location, extent, -(low + 0.5f)) + shift_px;
  const bool rounded_up = share < 0.0f;  // the coordinate, to a whole pixel
  low = rounded_up ? low - 1.0f : low;
  share = rounded_up ? share + 1.0f : share;
  return {static_cast<int>(low), share, any_inside && low >= -1.0f};  // rounded down past the border: nothing is inside
}

// The four pixels around a sample: rows `row`, `row + 1`, `row + width` and `row + width + 1` of the map.
struct Corners {
  int row;
  bool inside[4];
  float weight[4];
};

HYPERSEG_INLINE Corners corners(const Neighbours& x, const Neighbours& y, int height, int width) {
  const bool left = x.low >= 0, right = x.low + 1 < width;
  const bool upper = y.low >= 0, lower = y.low + 1 < height;
  const float x_low = 1.0f - x.high_share, y_low = 1.0f - y.high_share;
  return {y.low * width + x.low,
          {upper && left, upper && right, lower && left, lower && right},
          {y_low * x_low, y_low * x.high_share, y.high_share * x_low, y.high_share * x.high_share}};
}

// Rows between the first corner and another.
HYPERSEG_INLINE int corner_offset(int corner, int width) { return corner % 2 + corner / 2 * width; }

}  // namespace hyperseg
