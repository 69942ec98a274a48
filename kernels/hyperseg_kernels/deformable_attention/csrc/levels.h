// Level shapes as a model file states them, checked; for hosts only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sampling.h"

namespace hyperseg {

// Fills `levels` from extents h0, w0, h1, w1, ...; returns null, or what is wrong with them.
template <class Integer>
inline const char* read_levels(const Integer* extents, size_t count, Levels* levels) {
  if (count == 0 || count % 2 != 0 || count / 2 > kMaxLevels) return "level_shapes needs 1 to 32 pairs of height, width";
  constexpr int64_t kLimit = INT32_MAX;
  levels->count = static_cast<int>(count / 2);
  int64_t rows = 0;
  for (int level = 0; level < levels->count; ++level) {
    const int64_t height = extents[2 * level], width = extents[2 * level + 1];
    if (height < 1 || width < 1 || height > kLimit || width > kLimit || rows + height * width > kLimit)
      return "level_shapes has an extent that is no size of a map";
    levels->height[level] = static_cast<int>(height);
    levels->width[level] = static_cast<int>(width);
    levels->first_row[level] = static_cast<int>(rows);
    rows += height * width;
  }
  return nullptr;
}

}  // namespace hyperseg
