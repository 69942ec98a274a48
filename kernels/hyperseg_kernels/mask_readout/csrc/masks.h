// All queries of a batch, and what one worker (a block of a GPU, a task of a CPU) makes of a part of one of them: its
// statistics or its pixels. It needs nothing of the others.
#pragma once

#include "readout.h"

namespace hyperseg {

constexpr int kParts = 32;  // of a mask's rows, every kParts-th each; as PARTS in reference.py

// logits (B, Q, height, width), shown (B, M), sums and areas (B, Q, kParts), pixels (B, M, H, W).
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

// Rows of one query, every kParts-th from row `part` on: their statistics are wanted, or their pixels; pointers to what
// is not wanted are null.
template <class T>
struct Item {
  const T* logits;  // null where `shown` names no query: no pixel is inside
  int part;
  float* sum;
  int* area;
  bool* pixels;
};

template <class T>
HYPERSEG_INLINE long long items(const Masks<T>& all, long long images) {
  return images * kParts * (static_cast<long long>(all.queries) + all.masks);
}

// An image's statistics come first, then its pixels; of each query part after part.
template <class T>
HYPERSEG_INLINE Item<T> item_of(const Masks<T>& all, long long index) {
  const long long per_image = items(all, 1);
  const long long image = index / per_image, place = index % per_image;
  const long long source_px = static_cast<long long>(all.height) * all.width;
  const long long one = place / kParts;  // of the queries, then of the masks
  const int part = static_cast<int>(place % kParts);
  const T* logits = all.logits + image * all.queries * source_px;
  if (one < all.queries) {
    const long long result = (image * all.queries + one) * kParts + part;
    return {logits + one * source_px, part, all.sums + result, all.areas + result, nullptr};
  }
  const long long mask = image * all.masks + one - all.queries;
  const int query = all.shown[mask];
  const bool is_there = query >= 0 && query < all.queries;
  return {is_there ? logits + query * source_px : nullptr, part, nullptr, nullptr,
          all.pixels + mask * all.rows.size * all.columns.size};
}

// kLines rows of an item, `apart` from each other, by the lanes of a warp. `combined(row, line)` makes a line of the
// source and tells whether a pixel of it can be inside; lines lie one after another.
template <int kLanes, int kLines, class T, class Combined>
HYPERSEG_INLINE void read_rows(const Masks<T>& all, const Item<T>& item, int first, int apart, int lane, float* lines,
                               const Combined& combined, Statistics& found) {
  bool any[kLines], one = false;
HYPERSEG_UNROLL
  for (int line = 0; line < kLines; ++line) {
    any[line] = combined(first + line * apart, lines + line * all.width);
    one |= any[line];
  }
  if (one && item.sum) count<kLanes, kLines>(lines, all.width, all.columns, lane, found);
  if (!item.pixels) return;
HYPERSEG_UNROLL
  for (int line = 0; line < kLines; ++line) {
    bool* pixels = item.pixels + static_cast<long long>(first + line * apart) * all.columns.size;
    if (any[line]) mark<kLanes>(lines + line * all.width, all.columns, lane, pixels);
    else clear<kLanes>(all.columns, lane, pixels);
  }
}

// All rows of an item that worker `worker` of `workers` reads.
template <int kLanes, int kLines, class T, class Combined>
HYPERSEG_INLINE void read_item(const Masks<T>& all, const Item<T>& item, int worker, int workers, int lane, float* lines,
                               const Combined& combined, Statistics& found) {
  const int apart = workers * kParts;
  int row = item.part + worker * kParts;
  for (; row + (kLines - 1) * apart < all.rows.size; row += kLines * apart)
    read_rows<kLanes, kLines>(all, item, row, apart, lane, lines, combined, found);
  for (; row < all.rows.size; row += apart) read_rows<kLanes, 1>(all, item, row, apart, lane, lines, combined, found);
}

}  // namespace hyperseg
