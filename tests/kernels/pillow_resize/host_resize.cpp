// Launch shim: the threads of each block of the GPU kernel one after another on the host, first what all of them keep.
#include <vector>

#include "tile.h"

using namespace hyperseg;

namespace {

constexpr int kThreads = 256;

template <class T>
void run(const Resize<T>& all, int blocks) {
  for (int block = 0; block < blocks; ++block) {
    const Tile tile = tile_of(all, block);
    std::vector<unsigned char> kept(kKeptRows * kTileNumbers);
    for (int thread = 0; thread < kThreads; ++thread) keep(all, tile, thread, kThreads, kept.data());
    for (int thread = 0; thread < kThreads; ++thread) finish(all, tile, thread, kThreads, kept.data());
  }
}

}  // namespace

#define SHIM(NAME, T)                                                                                                  \
  extern "C" __attribute__((visibility("default"))) void pillow_resize_##NAME(                                        \
      int blocks, const T* pixels, const int* first_index, const int* first_weight, const int* column_index,          \
      const int* column_weight, const int* last_index, const int* last_weight, int height, int width, int channels,   \
      int first_taps, int first, int column_taps, int columns, int last_taps, int last, T* resized) {                 \
    run<T>({pixels, height, width, channels, {first_index, first_weight, first_taps, first},                          \
            {column_index, column_weight, column_taps, columns}, {last_index, last_weight, last_taps, last}, resized}, \
           blocks);                                                                                                   \
  }

SHIM(float32, float)
SHIM(float16, Half)
SHIM(bfloat16, BFloat16)
