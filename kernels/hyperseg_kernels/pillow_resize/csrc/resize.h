// Pillow's resizing of 8-bit images; the same text is compiled by NVRTC, by nvcc and by a host compiler. Sums are those
// of reference.py: whole numbers, so every form gives the same bytes.
#pragma once

#include "device.h"

namespace hyperseg {

constexpr int kWeightBits = 22;

// One axis: position p is weight[k * size + p] * source index[k * size + p], summed over k below `taps`.
struct Taps {
  const int* index;
  const int* weight;
  int taps, size;
};

// pixels (B, height, width, channels), whole numbers 0 to 255; resized (B, last_rows.size, columns.size, channels).
template <class T>
struct Resize {
  const T* pixels;
  int height, width, channels;
  Taps first_rows, columns, last_rows;
  T* resized;
};

// A sum, which begins with half a unit, rounded.
HYPERSEG_INLINE int to_byte(int sum) {
  const int byte = sum >> kWeightBits;
  return byte < 0 ? 0 : byte > 255 ? 255 : byte;
}

// The weighted sum of what `source` gives for the sources of a position, rounded to a byte.
template <class Source>
HYPERSEG_INLINE int weighted(const Taps& axis, int position, const Source& source) {
  int sum = 1 << (kWeightBits - 1);
  for (int tap = 0; tap < axis.taps; ++tap) {
    const int place = tap * axis.size + position;
    sum += axis.weight[place] * source(axis.index[place]);
  }
  return to_byte(sum);
}

// One number of the result, as a CPU makes it. What a pass takes from the one before is made anew for everyone who takes it.
template <class T>
HYPERSEG_INLINE void resize_one(const Resize<T>& all, long long place) {
  const int channel = static_cast<int>(place % all.channels);
  const long long pixel = place / all.channels;
  const int column = static_cast<int>(pixel % all.columns.size);
  const int row = static_cast<int>(pixel / all.columns.size % all.last_rows.size);
  const long long image = pixel / all.columns.size / all.last_rows.size;
  const T* source = all.pixels + image * all.height * all.width * all.channels + channel;
  const int byte = weighted(all.last_rows, row, [&](int between) {
    return weighted(all.columns, column, [&](int x) {
      return weighted(all.first_rows, between, [&](int y) {
        return static_cast<int>(to_float(source[(static_cast<long long>(y) * all.width + x) * all.channels]));
      });
    });
  });
  from_float(static_cast<float>(byte), all.resized[place]);
}

}  // namespace hyperseg
