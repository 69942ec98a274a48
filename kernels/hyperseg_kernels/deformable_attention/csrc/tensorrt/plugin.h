// TensorRT plugin MultiScaleDeformableAttention, version 1, namespace "hyperseg".
#pragma once

#include <NvInfer.h>

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace hyperseg {

constexpr char kPluginName[] = "MultiScaleDeformableAttention";
constexpr char kPluginVersion[] = "1";
constexpr char kPluginNamespace[] = "hyperseg";
constexpr char kLevelShapes[] = "level_shapes";  // attribute: h0, w0, h1, w1, ...

// Inputs value (B, S, H, D), sampling_locations (B, Q, H, L, P, 2), attention_weights (B, Q, H, L, P); output
// (B, Q, H * D). Values and output are float32, float16 or bfloat16, locations and weights float32.
class DeformableAttentionPlugin final : public nvinfer1::IPluginV3,
                                        public nvinfer1::IPluginV3OneCore,
                                        public nvinfer1::IPluginV3OneBuild,
                                        public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit DeformableAttentionPlugin(std::vector<int32_t> level_shapes);
  DeformableAttentionPlugin(const DeformableAttentionPlugin& other) : DeformableAttentionPlugin(other.level_shapes_) {}

  // IPluginV3
  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  // Core
  const char* getPluginName() const noexcept override { return kPluginName; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

  // Build
  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const nvinfer1::DynamicPluginTensorDesc* outputs, int32_t output_count) noexcept override;
  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 int32_t input_count, int32_t output_count) noexcept override;
  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t output_count, const nvinfer1::DataType* inputs,
                             int32_t input_count) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count,
                          const nvinfer1::DimsExprs* shape_inputs, int32_t shape_input_count,
                          nvinfer1::DimsExprs* outputs, int32_t output_count,
                          nvinfer1::IExprBuilder& builder) noexcept override;

  // Runtime
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t input_count,
                        const nvinfer1::PluginTensorDesc* outputs, int32_t output_count) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* input_types, const nvinfer1::PluginTensorDesc* output_types,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return &fields_; }

 private:
  std::vector<int32_t> level_shapes_;
  Levels levels_{};
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
};

class DeformableAttentionCreator final : public nvinfer1::IPluginCreatorV3One {
 public:
  DeformableAttentionCreator();
  const char* getPluginName() const noexcept override { return kPluginName; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &fields_; }
  // Null, and a logged line, when level_shapes is missing or means nothing.
  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;

 private:
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
};

}  // namespace hyperseg
