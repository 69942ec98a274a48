// TensorRT plugin MaskReadout.
#pragma once

#include "plugin.h"
#include "readout_kernels.h"

namespace hyperseg {

// Inputs mask_logits (B, Q, h, w) in float32, float16 or bfloat16; shown (B, M) int32; row_index int32 and row_weight
// float32 (4, H); column_index and column_weight (4, W). Outputs sums (B, Q) float32, areas (B, Q) int32, pixels
// (B, M, H, W) bool.
class MaskReadoutPlugin final : public Plugin<MaskReadoutPlugin> {
 public:
  static constexpr char kName[] = "MaskReadout";
  static constexpr int kInputs = 6, kOutputs = 3;

  static std::vector<const char*> field_names() { return {}; }
  static MaskReadoutPlugin* create(const nvinfer1::PluginFieldCollection&) { return new MaskReadoutPlugin; }
  static bool takes(int32_t position, nvinfer1::DataType type, nvinfer1::DataType);
  static nvinfer1::DataType output_type(int32_t position, nvinfer1::DataType);

  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count, const nvinfer1::DimsExprs*, int32_t,
                          nvinfer1::DimsExprs* outputs, int32_t, nvinfer1::IExprBuilder&) noexcept override;
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t, const nvinfer1::PluginTensorDesc*,
                        int32_t) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* input_types, const nvinfer1::PluginTensorDesc*,
                  const void* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept override;
};

}  // namespace hyperseg
