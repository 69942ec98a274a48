// TensorRT plugin PillowResize.
#pragma once

#include "plugin.h"
#include "resize_kernels.h"

namespace hyperseg {

// Inputs pixels (B, h, w, C), whole numbers in float32, float16 or bfloat16; index and weight of the first rows, the
// columns and the last rows, each (taps, size) int32. Output resized (B, H, W, C) of the type of pixels.
class PillowResizePlugin final : public Plugin<PillowResizePlugin> {
 public:
  static constexpr char kName[] = "PillowResize";
  static constexpr int kInputs = 7, kOutputs = 1;

  static std::vector<const char*> field_names() { return {}; }
  static PillowResizePlugin* create(const nvinfer1::PluginFieldCollection&) { return new PillowResizePlugin; }
  static bool takes(int32_t position, nvinfer1::DataType type, nvinfer1::DataType);
  static nvinfer1::DataType output_type(int32_t, nvinfer1::DataType value) { return value; }

  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count, const nvinfer1::DimsExprs*, int32_t,
                          nvinfer1::DimsExprs* outputs, int32_t, nvinfer1::IExprBuilder&) noexcept override;
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t, const nvinfer1::PluginTensorDesc*,
                        int32_t) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* input_types, const nvinfer1::PluginTensorDesc*,
                  const void* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept override;
};

}  // namespace hyperseg
