// Mask readout as a block of a GPU does it: a warp per row or two, results in a fixed order.
#pragma once

#include "masks.h"

namespace hyperseg {

constexpr int kWarp = 32, kMaxWarps = 32;

HYPERSEG_INLINE void add_warp(Statistics& found) {
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    found.sum += __shfl_down_sync(~0u, found.sum, apart);
    found.area += __shfl_down_sync(~0u, found.area, apart);
  }
}

// Needs kLines lines of `width` floats of dynamic shared memory per warp.
template <int kLines, class T>
HYPERSEG_INLINE void read_block(const Masks<T>& all) {
  extern __shared__ float shared[];
  __shared__ double sums[kMaxWarps];
  __shared__ int areas[kMaxWarps];
  const Item<T> item = item_of(all, blockIdx.x);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  Statistics found;
  const auto combined = [&](int row, float* line) {
    __syncwarp();  // what was on the line is read
    const bool mine = item.logits && combine<T, kWarp>(item.logits, all.width, all.rows, row, lane, line);
    const bool any = __any_sync(~0u, mine);
    __syncwarp();  // the line is written
    return any;
  };
  read_item<kWarp, kLines>(all, item, warp, warps, lane, shared + warp * kLines * all.width, combined, found);
  add_warp(found);
  if (lane == 0) sums[warp] = found.sum, areas[warp] = found.area;
  __syncthreads();
  if (threadIdx.x != 0 || !item.sum) return;
  for (int other = 1; other < warps; ++other) found.sum += sums[other], found.area += areas[other];
  *item.sum = static_cast<float>(found.sum);
  *item.area = found.area;
}

}  // namespace hyperseg
