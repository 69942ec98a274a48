#include "plugin.h"

#include <exception>
#include <mutex>
#include <string>
#include <utility>

#include "../levels.h"

namespace hyperseg {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginFieldType;

enum Input { kValue, kLocations, kWeights, kInputs };

nvinfer1::ILoggerFinder* logger_finder = nullptr;
std::mutex logger_mutex;

void log_error(const std::string& message) {
  const std::lock_guard<std::mutex> lock(logger_mutex);
  nvinfer1::ILogger* logger = logger_finder ? logger_finder->findLogger() : getLogger();
  if (logger)
    logger->log(nvinfer1::ILogger::Severity::kERROR, (std::string("hyperseg::") + kPluginName + ": " + message).c_str());
}

// What TensorRT calls has to be noexcept and says failure by a number.
int32_t failure(const std::string& message) {
  log_error(message);
  return -1;
}

nvinfer1::PluginField level_shapes_field(const std::vector<int32_t>& level_shapes) {
  return {kLevelShapes, level_shapes.data(), PluginFieldType::kINT32, static_cast<int32_t>(level_shapes.size())};
}

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

bool is_value_type(DataType type) {
  return type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kBF16;
}

}  // namespace

DeformableAttentionPlugin::DeformableAttentionPlugin(std::vector<int32_t> level_shapes)
    : level_shapes_(std::move(level_shapes)), field_(level_shapes_field(level_shapes_)), fields_{1, &field_} {
  read_levels(level_shapes_.data(), level_shapes_.size(), &levels_);
}

nvinfer1::IPluginCapability* DeformableAttentionPlugin::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* DeformableAttentionPlugin::clone() noexcept {
  try {
    return new DeformableAttentionPlugin(*this);
  } catch (const std::exception& error) {
    log_error(error.what());
    return nullptr;
  }
}

int32_t DeformableAttentionPlugin::configurePlugin(const nvinfer1::DynamicPluginTensorDesc*, int32_t input_count,
                                                   const nvinfer1::DynamicPluginTensorDesc*,
                                                   int32_t output_count) noexcept {
  return input_count == kInputs && output_count == 1 ? 0 : failure("takes 3 inputs and makes 1 output");
}

bool DeformableAttentionPlugin::supportsFormatCombination(int32_t position,
                                                          const nvinfer1::DynamicPluginTensorDesc* tensors, int32_t,
                                                          int32_t) noexcept {
  const nvinfer1::PluginTensorDesc& tensor = tensors[position].desc;
  if (tensor.format != nvinfer1::TensorFormat::kLINEAR) return false;
  switch (position) {
    case kValue: return is_value_type(tensor.type);
    case kLocations:
    case kWeights: return tensor.type == DataType::kFLOAT;
    default: return tensor.type == tensors[kValue].desc.type;
  }
}

int32_t DeformableAttentionPlugin::getOutputDataTypes(DataType* outputs, int32_t, const DataType* inputs,
                                                      int32_t) const noexcept {
  outputs[0] = inputs[kValue];
  return 0;
}

int32_t DeformableAttentionPlugin::getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count,
                                                   const nvinfer1::DimsExprs*, int32_t, nvinfer1::DimsExprs* outputs,
                                                   int32_t, nvinfer1::IExprBuilder& builder) noexcept {
  if (input_count != kInputs || inputs[kValue].nbDims != 4 || inputs[kLocations].nbDims != 6 ||
      inputs[kWeights].nbDims != 5)
    return failure("expected value (B, S, H, D), sampling_locations (B, Q, H, L, P, 2), attention_weights (B, Q, H, L, P)");
  const auto *heads = inputs[kValue].d[2], *channels = inputs[kValue].d[3];
  outputs[0].nbDims = 3;
  outputs[0].d[0] = inputs[kValue].d[0];
  outputs[0].d[1] = inputs[kWeights].d[1];
  outputs[0].d[2] = builder.operation(nvinfer1::DimensionOperation::kPROD, *heads, *channels);
  return 0;
}

int32_t DeformableAttentionPlugin::onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t,
                                                 const nvinfer1::PluginTensorDesc*, int32_t) noexcept {
  const nvinfer1::Dims &value = inputs[kValue].dims, &weights = inputs[kWeights].dims;
  if (value.d[1] != levels_.rows())
    return failure("level_shapes cover " + std::to_string(levels_.rows()) + " rows, value has " +
                   std::to_string(value.d[1]));
  if (weights.d[2] != value.d[2] || weights.d[3] != levels_.count)
    return failure("heads or levels of value, level_shapes and attention_weights differ");
  if (value.d[1] * value.d[2] * value.d[3] > INT32_MAX) return failure("one image has 2^31 values or more");
  return 0;
}

int32_t DeformableAttentionPlugin::enqueue(const nvinfer1::PluginTensorDesc* input_types,
                                           const nvinfer1::PluginTensorDesc*, const void* const* inputs,
                                           void* const* outputs, void*, cudaStream_t stream) noexcept {
  const nvinfer1::Dims &value = input_types[kValue].dims, &weights = input_types[kWeights].dims;
  const Layer layer = {static_cast<int>(value.d[2]), static_cast<int>(value.d[3]), static_cast<int>(weights.d[4]),
                       levels_};
  const auto launch = [&](auto typed) {
    return launch_given<decltype(typed)>(layer, value.d[0], weights.d[1], inputs[kValue],
                                         static_cast<const float*>(inputs[kLocations]),
                                         static_cast<const float*>(inputs[kWeights]), outputs[0], stream);
  };
  cudaError_t status = cudaErrorInvalidValue;
  switch (input_types[kValue].type) {
    case DataType::kFLOAT: status = launch(float{}); break;
    case DataType::kHALF: status = launch(Half{}); break;
    case DataType::kBF16: status = launch(BFloat16{}); break;
    default: break;
  }
  return status == cudaSuccess ? 0 : failure(cudaGetErrorString(status));
}

DeformableAttentionCreator::DeformableAttentionCreator()
    : field_{kLevelShapes, nullptr, PluginFieldType::kINT32, 0}, fields_{1, &field_} {}

nvinfer1::IPluginV3* DeformableAttentionCreator::createPlugin(const char*, const nvinfer1::PluginFieldCollection* fields,
                                                              nvinfer1::TensorRTPhase) noexcept {
  try {
    std::vector<int32_t> level_shapes;
    for (int32_t index = 0; index < fields->nbFields; ++index)
      if (std::string(fields->fields[index].name) == kLevelShapes) level_shapes = integers(fields->fields[index]);
    Levels levels;
    if (const char* wrong = read_levels(level_shapes.data(), level_shapes.size(), &levels)) {
      log_error(wrong);
      return nullptr;
    }
    return new DeformableAttentionPlugin(std::move(level_shapes));
  } catch (const std::exception& error) {
    log_error(error.what());
    return nullptr;
  }
}

namespace {

DeformableAttentionCreator& creator() {
  static DeformableAttentionCreator instance;
  return instance;
}

// Triton, polygraphy and LD_PRELOAD only load the library: it registers itself, under the namespace that the
// ONNX node names (the macro of NvInfer.h would leave the namespace empty).
class Registration {
 public:
  Registration() {
    nvinfer1::IPluginRegistry* registry = getPluginRegistry();
    done_ = registry && registry->registerCreator(creator(), kPluginNamespace);
  }
  void undo() {
    if (done_) getPluginRegistry()->deregisterCreator(creator());
    done_ = false;
  }

 private:
  bool done_;
};
Registration registration;

}  // namespace
}  // namespace hyperseg

// IPluginRegistry::loadLibrary, trtexec --dynamicPlugins and plugins_to_serialize ask for the creators and register
// them as the library's; they fail on one that is registered already.
extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&hyperseg::creator()};
  hyperseg::registration.undo();
  count = 1;
  return creators;
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  const std::lock_guard<std::mutex> lock(hyperseg::logger_mutex);
  hyperseg::logger_finder = finder;
}
