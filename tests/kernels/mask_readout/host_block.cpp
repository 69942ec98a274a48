// Launch shim: runs the lanes of each warp of the GPU kernel one after another on the host, so that their arithmetic
// can be compared with the reference without a GPU. Only the adding up of lanes is the shim's own.
#include <vector>

#include "masks.h"

using namespace hyperseg;

namespace {

constexpr int kWarp = 32, kWarps = 3;

constexpr int kLines = 2;

template <class T>
void run(const Masks<T>& all, int blocks) {
  for (int block = 0; block < blocks; ++block) {
    const Item<T> item = item_of(all, block);
    std::vector<float> lines(kLines * all.width);
    Statistics found[kWarp];
    for (int lane = 0; lane < kWarp; ++lane) {
      const auto combined = [&](int row, float* line) {
        bool any = false;
        for (int other = 0; other < kWarp; ++other)
          any |= item.logits && combine<T, kWarp>(item.logits, all.width, all.rows, row, other, line);
        return any;
      };
      for (int warp = 0; warp < kWarps; ++warp)
        read_item<kWarp, kLines>(all, item, warp, kWarps, lane, lines.data(), combined, found[lane]);
    }
    if (!item.sum) continue;
    for (int lane = 1; lane < kWarp; ++lane) found[0].sum += found[lane].sum, found[0].area += found[lane].area;
    *item.sum = static_cast<float>(found[0].sum);
    *item.area = found[0].area;
  }
}

}  // namespace

#define SHIM(NAME, T)                                                                                                 \
  extern "C" __attribute__((visibility("default"))) void mask_readout_##NAME(                                         \
      int blocks, const T* logits, const int* shown, const int* row_index, const float* row_weight,                   \
      const int* column_index, const float* column_weight, int queries, int masks, int height, int width,             \
      int image_height, int image_width, float* sums, int* areas, bool* pixels) {                                     \
    run<T>({logits, shown, queries, masks, height, width, {row_index, row_weight, image_height},                      \
            {column_index, column_weight, image_width}, sums, areas, pixels}, blocks);                                \
  }

SHIM(float32, float)
SHIM(float16, Half)
SHIM(bfloat16, BFloat16)
