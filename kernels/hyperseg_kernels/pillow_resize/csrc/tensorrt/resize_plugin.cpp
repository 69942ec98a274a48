#include "resize_plugin.h"

namespace hyperseg {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;

enum Input { kPixels, kFirstIndex, kFirstWeight, kColumnIndex, kColumnWeight, kLastIndex, kLastWeight };

template <class T>
Resize<T> resize_of(const nvinfer1::PluginTensorDesc* types, const void* const* inputs, void* const* outputs) {
  const Dims& pixels = types[kPixels].dims;
  const auto taps = [&](int index, int weight) {
    const Dims& table = types[index].dims;
    return Taps{static_cast<const int*>(inputs[index]), static_cast<const int*>(inputs[weight]),
                static_cast<int>(table.d[0]), static_cast<int>(table.d[1])};
  };
  return {static_cast<const T*>(inputs[kPixels]), static_cast<int>(pixels.d[1]), static_cast<int>(pixels.d[2]),
          static_cast<int>(pixels.d[3]), taps(kFirstIndex, kFirstWeight), taps(kColumnIndex, kColumnWeight),
          taps(kLastIndex, kLastWeight), static_cast<T*>(outputs[0])};
}

}  // namespace

bool PillowResizePlugin::takes(int32_t position, DataType type, DataType) {
  return position == kPixels ? is_value_type(type) : type == DataType::kINT32;
}

int32_t PillowResizePlugin::getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count,
                                            const nvinfer1::DimsExprs*, int32_t, nvinfer1::DimsExprs* outputs, int32_t,
                                            nvinfer1::IExprBuilder&) noexcept {
  bool fits = input_count == kInputs;
  for (int32_t input = 0; fits && input < kInputs; ++input) fits = inputs[input].nbDims == (input == kPixels ? 4 : 2);
  if (!fits) return failed("expected pixels (B, h, w, C) and an index and weight (taps, size) of three axes");
  outputs[0].nbDims = 4;
  outputs[0].d[0] = inputs[kPixels].d[0];
  outputs[0].d[1] = inputs[kLastIndex].d[1];
  outputs[0].d[2] = inputs[kColumnIndex].d[1];
  outputs[0].d[3] = inputs[kPixels].d[3];
  return 0;
}

int32_t PillowResizePlugin::onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t,
                                          const nvinfer1::PluginTensorDesc*, int32_t) noexcept {
  for (int32_t index = kFirstIndex; index < kInputs; index += 2)
    for (int32_t axis : {0, 1})
      if (inputs[index].dims.d[axis] != inputs[index + 1].dims.d[axis])
        return failed("index and weight of an axis must both be (taps, size)");
  return 0;
}

int32_t PillowResizePlugin::enqueue(const nvinfer1::PluginTensorDesc* input_types, const nvinfer1::PluginTensorDesc*,
                                    const void* const* inputs, void* const* outputs, void*,
                                    cudaStream_t stream) noexcept {
  const long long images = input_types[kPixels].dims.d[0];
  cudaError_t status = cudaErrorInvalidValue;
  switch (input_types[kPixels].type) {
    case DataType::kFLOAT: status = launch_resize(resize_of<float>(input_types, inputs, outputs), images, stream); break;
    case DataType::kHALF: status = launch_resize(resize_of<Half>(input_types, inputs, outputs), images, stream); break;
    case DataType::kBF16:
      status = launch_resize(resize_of<BFloat16>(input_types, inputs, outputs), images, stream);
      break;
    default: break;
  }
  return status == cudaSuccess ? 0 : failed(cudaGetErrorString(status));
}

}  // namespace hyperseg
