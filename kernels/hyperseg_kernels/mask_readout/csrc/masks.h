// All queries of a batch, and what one worker (a block of a GPU, a task of a CPU) makes of one of them.
#pragma once

#include "readout.h"

namespace hyperseg {

// logits (B, Q, height, width), shown (B, M), sums and areas (B, Q), pixels (B, M, H, W).
template <class T>
struct Masks {
  const T* logits;
  const int* shown;
  int queries, masks;  // Q, M
  int height, width;
  Axis rows, columns;
  float* sums;
  int* areas;
  bool* pixels;
};

// One query: its statistics are wanted, or its pixels; pointers to what is not wanted are null.
template <class T>
struct Item {
  const T* logits;  // null where `shown` names no query: no pixel is inside
  float* sum;
  int* area;
  bool* pixels;
};

// Items are counted as images * (queries + masks): an image's statistics come first, then its pixels.
template <class T>
HYPERSEG_INLINE Item<T> item_of(const Masks<T>& all, long long index) {
  const long long per_image = static_cast<long long>(all.queries) + all.masks;
  const long long image = index / per_image, place = index % per_image;
  const long long source_px = static_cast<long long>(all.height) * all.width;
  const T* logits = all.logits + image * all.queries * source_px;
  if (place < all.queries) {
    const long long result = image * all.queries + place;
    return {logits + place * source_px, all.sums + result, all.areas + result, nullptr};
  }
  const long long mask = image * all.masks + place - all.queries;
  const int query = all.shown[mask];
  const bool is_there = query >= 0 && query < all.queries;
  return {is_there ? logits + query * source_px : nullptr, nullptr, nullptr,
          all.pixels + mask * all.rows.size * all.columns.size};
}

// What the lanes of a row do once its line is combined; `any` is false when no pixel can be inside.
template <int kLanes, class T>
HYPERSEG_INLINE void read_row(const Masks<T>& all, const Item<T>& item, const float* line, int row, int lane, bool any,
                              Statistics& found) {
  if (any && item.sum) count<kLanes>(line, all.columns, lane, found);
  if (!item.pixels) return;
  bool* pixels = item.pixels + static_cast<long long>(row) * all.columns.size;
  if (any) mark<kLanes>(line, all.columns, lane, pixels);
  else clear<kLanes>(all.columns, lane, pixels);
}

}  // namespace hyperseg
