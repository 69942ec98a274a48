// Launch shim: the GPU kernel's threads one after another on the host.
#include "resize.h"

using namespace hyperseg;

#define SHIM(NAME, T)                                                                                                  \
  extern "C" __attribute__((visibility("default"))) void pillow_resize_##NAME(                                        \
      const T* pixels, const int* first_index, const int* first_weight, const int* column_index,                      \
      const int* column_weight, const int* last_index, const int* last_weight, int numbers, int height, int width,    \
      int channels, int first_taps, int first, int column_taps, int columns, int last_taps, int last, T* resized) {   \
    const Resize<T> all = {pixels, height, width, channels, {first_index, first_weight, first_taps, first},           \
                           {column_index, column_weight, column_taps, columns},                                        \
                           {last_index, last_weight, last_taps, last}, resized};                                       \
    for (int place = 0; place < numbers; ++place) resize_one(all, place);                                              \
  }

SHIM(float32, float)
SHIM(float16, Half)
SHIM(bfloat16, BFloat16)
