#include "attention_plugin.h"

#include <stdexcept>
#include <utility>

#include "levels.h"

namespace hyperseg {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::PluginFieldType;

// A parser hands integers over as int32 or int64; a serialised engine as int32.
std::vector<int32_t> integers(const nvinfer1::PluginField& field) {
  if (field.type == PluginFieldType::kINT32) {
    const auto* data = static_cast<const int32_t*>(field.data);
    return {data, data + field.length};
  }
  if (field.type == PluginFieldType::kINT64) {
    const auto* data = static_cast<const int64_t*>(field.data);
    return {data, data + field.length};
  }
  return {};
}

// Calls launch(float{}), launch(Half{}) or launch(BFloat16{}).
template <class Launch>
cudaError_t with_type(DataType type, const Launch& launch) {
  switch (type) {
    case DataType::kFLOAT: return launch(float{});
    case DataType::kHALF: return launch(Half{});
    case DataType::kBF16: return launch(BFloat16{});
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace

template <class Derived>
AttentionPlugin<Derived>::AttentionPlugin(std::vector<int32_t> level_shapes)
    : level_shapes_(std::move(level_shapes)),
      field_{kLevelShapes, level_shapes_.data(), PluginFieldType::kINT32, static_cast<int32_t>(level_shapes_.size())} {
  if (const char* wrong = read_levels(level_shapes_.data(), level_shapes_.size(), &levels_))
    throw std::invalid_argument(wrong);
  this->fields_ = {1, &field_};
}

template <class Derived>
Derived* AttentionPlugin<Derived>::create(const nvinfer1::PluginFieldCollection& fields) {
  std::vector<int32_t> level_shapes;
  for (int32_t index = 0; index < fields.nbFields; ++index)
    if (std::string(fields.fields[index].name) == kLevelShapes) level_shapes = integers(fields.fields[index]);
  return new Derived(std::move(level_shapes));
}

template <class Derived>
int32_t AttentionPlugin<Derived>::getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count,
                                                  const nvinfer1::DimsExprs*, int32_t, nvinfer1::DimsExprs* outputs,
                                                  int32_t, nvinfer1::IExprBuilder& builder) noexcept {
  bool fits = input_count == Derived::kInputs;
  for (int32_t input = 0; fits && input < input_count; ++input) fits = inputs[input].nbDims == Derived::kRanks[input];
  if (!fits) return this->failed(Derived::kShapes);
  outputs[0].nbDims = 3;
  outputs[0].d[0] = inputs[0].d[0];
  outputs[0].d[1] = inputs[Derived::kWeights].d[1];
  outputs[0].d[2] = builder.operation(nvinfer1::DimensionOperation::kPROD, *inputs[0].d[2], *inputs[0].d[3]);
  return 0;
}

template <class Derived>
std::string AttentionPlugin<Derived>::problem(const Dims& value, const Dims& weights) const {
  if (value.d[1] != levels_.rows())
    return "level_shapes cover " + std::to_string(levels_.rows()) + " rows, value has " + std::to_string(value.d[1]);
  if (weights.d[2] != value.d[2] || weights.d[3] != levels_.count)
    return "heads or levels of value, level_shapes and weights differ";
  if (value.d[1] * value.d[2] * value.d[3] > INT32_MAX) return "one image has 2^31 values or more";
  return "";
}

template <class Derived>
AttentionBatch AttentionPlugin<Derived>::batch(const Dims& value, const Dims& weights) const {
  const Layer layer = {static_cast<int>(value.d[2]), static_cast<int>(value.d[3]), static_cast<int>(weights.d[4]),
                       levels_};
  return {layer, value.d[0], weights.d[1]};
}

template class AttentionPlugin<GivenAttentionPlugin>;
template class AttentionPlugin<ProjectedAttentionPlugin>;

int32_t GivenAttentionPlugin::onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t,
                                            const nvinfer1::PluginTensorDesc*, int32_t) noexcept {
  const std::string wrong = problem(inputs[0].dims, inputs[kWeights].dims);
  return wrong.empty() ? 0 : failed(wrong);
}

int32_t GivenAttentionPlugin::enqueue(const nvinfer1::PluginTensorDesc* input_types, const nvinfer1::PluginTensorDesc*,
                                      const void* const* inputs, void* const* outputs, void*,
                                      cudaStream_t stream) noexcept {
  const cudaError_t status = with_type(input_types[0].type, [&](auto typed) {
    return launch_given<decltype(typed)>(batch(input_types[0].dims, input_types[kWeights].dims), inputs[0],
                                         static_cast<const float*>(inputs[1]), static_cast<const float*>(inputs[2]),
                                         outputs[0], stream);
  });
  return status == cudaSuccess ? 0 : failed(cudaGetErrorString(status));
}

int32_t ProjectedAttentionPlugin::onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t,
                                                const nvinfer1::PluginTensorDesc*, int32_t) noexcept {
  const Dims &value = inputs[0].dims, &references = inputs[1].dims, &logits = inputs[kWeights].dims;
  if (const std::string wrong = problem(value, logits); !wrong.empty()) return failed(wrong);
  const bool images = references.d[0] == 1 || references.d[0] == value.d[0];
  const bool levels = references.d[2] == 1 || references.d[2] == levels_.count;
  const bool size = references.d[3] == 2 || references.d[3] == 4;
  if (!images || references.d[1] != logits.d[1] || !levels || !size)
    return failed("references must be (1 or B, Q, 1 or L, 2 or 4)");
  return 0;
}

int32_t ProjectedAttentionPlugin::enqueue(const nvinfer1::PluginTensorDesc* input_types,
                                          const nvinfer1::PluginTensorDesc*, const void* const* inputs,
                                          void* const* outputs, void*, cudaStream_t stream) noexcept {
  const Dims& references = input_types[1].dims;
  const int size = static_cast<int>(references.d[3]);
  const int image_stride = references.d[0] > 1 ? static_cast<int>(references.d[1] * references.d[2]) * size : 0;
  const int level_stride = references.d[2] > 1 ? size : 0;
  const cudaError_t status = with_type(input_types[0].type, [&](auto typed) {
    return launch_projected<decltype(typed)>(batch(input_types[0].dims, input_types[kWeights].dims), size,
                                             image_stride, level_stride, inputs[0],
                                             static_cast<const float*>(inputs[1]), inputs[2], inputs[3], outputs[0],
                                             stream);
  });
  return status == cudaSuccess ? 0 : failed(cudaGetErrorString(status));
}

}  // namespace hyperseg
