// TensorRT plugins MultiScaleDeformableAttention and ProjectedDeformableAttention.
#pragma once

#include "attention_kernels.h"
#include "plugin.h"

namespace hyperseg {

constexpr char kLevelShapes[] = "level_shapes";  // attribute: h0, w0, h1, w1, ...

// What both forms share: the attribute, and an output (B, Q, H * D) in the type of value (B, S, H, D).
template <class Derived>
class AttentionPlugin : public Plugin<Derived> {
 public:
  static constexpr int kOutputs = 1;

  explicit AttentionPlugin(std::vector<int32_t> level_shapes);
  AttentionPlugin(const AttentionPlugin& other) : AttentionPlugin(other.level_shapes_) {}

  static std::vector<const char*> field_names() { return {kLevelShapes}; }
  static Derived* create(const nvinfer1::PluginFieldCollection& fields);
  static nvinfer1::DataType output_type(int32_t, nvinfer1::DataType value) { return value; }

  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count, const nvinfer1::DimsExprs*, int32_t,
                          nvinfer1::DimsExprs* outputs, int32_t, nvinfer1::IExprBuilder& builder) noexcept override;

 protected:
  // Empty, or what is wrong with value and with weights or logits (B, Q, H, L, P).
  std::string problem(const nvinfer1::Dims& value, const nvinfer1::Dims& weights) const;
  AttentionBatch batch(const nvinfer1::Dims& value, const nvinfer1::Dims& weights) const;

  Levels levels_{};

 private:
  std::vector<int32_t> level_shapes_;
  nvinfer1::PluginField field_;
};

// Inputs value, sampling_locations (B, Q, H, L, P, 2), attention_weights (B, Q, H, L, P); these two are float32.
class GivenAttentionPlugin final : public AttentionPlugin<GivenAttentionPlugin> {
 public:
  static constexpr char kName[] = "MultiScaleDeformableAttention";
  static constexpr int kInputs = 3, kWeights = 2;
  static constexpr int32_t kRanks[] = {4, 6, 5};
  static constexpr char kShapes[] =
      "expected value (B, S, H, D), sampling_locations (B, Q, H, L, P, 2), attention_weights (B, Q, H, L, P)";
  using AttentionPlugin::AttentionPlugin;

  static bool takes(int32_t position, nvinfer1::DataType type, nvinfer1::DataType) {
    return position == 0 ? is_value_type(type) : type == nvinfer1::DataType::kFLOAT;
  }
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t, const nvinfer1::PluginTensorDesc*,
                        int32_t) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* input_types, const nvinfer1::PluginTensorDesc*,
                  const void* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept override;
};

// Inputs value, references (1 or B, Q, 1 or L, 2 or 4) in float32, offsets (B, Q, H, L, P, 2) and logits
// (B, Q, H, L, P) in the type of value.
class ProjectedAttentionPlugin final : public AttentionPlugin<ProjectedAttentionPlugin> {
 public:
  static constexpr char kName[] = "ProjectedDeformableAttention";
  static constexpr int kInputs = 4, kWeights = 3;
  static constexpr int32_t kRanks[] = {4, 4, 6, 5};
  static constexpr char kShapes[] =
      "expected value (B, S, H, D), references (1 or B, Q, 1 or L, 2 or 4), offsets (B, Q, H, L, P, 2), logits "
      "(B, Q, H, L, P)";
  using AttentionPlugin::AttentionPlugin;

  static bool takes(int32_t position, nvinfer1::DataType type, nvinfer1::DataType value) {
    if (position == 1) return type == nvinfer1::DataType::kFLOAT;
    return position == 0 ? is_value_type(type) : type == value;
  }
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t, const nvinfer1::PluginTensorDesc*,
                        int32_t) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* input_types, const nvinfer1::PluginTensorDesc*,
                  const void* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept override;
};

}  // namespace hyperseg
