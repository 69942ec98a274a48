// What every TensorRT plugin of ours has in common: identity, capabilities, logging, a creator. Version 1, namespace
// "hyperseg".
#pragma once

#include <NvInfer.h>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace hyperseg {

constexpr char kPluginVersion[] = "1";
constexpr char kPluginNamespace[] = "hyperseg";

void log_error(const std::string& message);

// What TensorRT calls has to be noexcept and says failure by a number.
inline int32_t failure(const char* plugin, const std::string& message) {
  log_error(std::string(plugin) + ": " + message);
  return -1;
}

inline bool is_value_type(nvinfer1::DataType type) {
  return type == nvinfer1::DataType::kFLOAT || type == nvinfer1::DataType::kHALF || type == nvinfer1::DataType::kBF16;
}

// Has: kName, kInputs, kOutputs (counts), takes(position, type, type of input 0), output_type(position, type of
// input 0), and what is left of the interface: getOutputShapes, onShapeChange, enqueue. Attributes go into `fields_`.
template <class Derived>
class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime {
 public:
  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
    switch (type) {
      case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
      case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
      case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }
  nvinfer1::IPluginV3* clone() noexcept override {
    try {
      return new Derived(static_cast<const Derived&>(*this));
    } catch (const std::exception& error) {
      failure(Derived::kName, error.what());
      return nullptr;
    }
  }

  const char* getPluginName() const noexcept override { return Derived::kName; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

  int32_t getNbOutputs() const noexcept override { return Derived::kOutputs; }
  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc*, int32_t input_count,
                          const nvinfer1::DynamicPluginTensorDesc*, int32_t output_count) noexcept override {
    if (input_count == Derived::kInputs && output_count == Derived::kOutputs) return 0;
    return failure(Derived::kName, "takes " + std::to_string(Derived::kInputs) + " inputs and makes " +
                                       std::to_string(Derived::kOutputs) + " outputs");
  }
  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors, int32_t,
                                 int32_t) noexcept override {
    const nvinfer1::PluginTensorDesc& tensor = tensors[position].desc;
    const nvinfer1::DataType value = tensors[0].desc.type;
    if (tensor.format != nvinfer1::TensorFormat::kLINEAR) return false;
    return position < Derived::kInputs ? Derived::takes(position, tensor.type, value)
                                       : tensor.type == Derived::output_type(position - Derived::kInputs, value);
  }
  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t output_count, const nvinfer1::DataType* inputs,
                             int32_t) const noexcept override {
    for (int32_t index = 0; index < output_count; ++index) outputs[index] = Derived::output_type(index, inputs[0]);
    return 0;
  }

  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return &fields_; }

 protected:
  static int32_t failed(const std::string& message) { return failure(Derived::kName, message); }

  nvinfer1::PluginFieldCollection fields_{0, nullptr};
};

// Of a plugin with static `field_names()` and `create(fields)`, which throws what is wrong with the fields.
template <class Made>
class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  Creator() : names_(Made::field_names()) {
    for (const char* name : names_) fields_.push_back({name, nullptr, nvinfer1::PluginFieldType::kINT32, 0});
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
  }
  const char* getPluginName() const noexcept override { return Made::kName; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
  // Null, and a logged line, when a field is missing or means nothing.
  nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase) noexcept override {
    try {
      return Made::create(*fields);
    } catch (const std::exception& error) {
      failure(Made::kName, error.what());
      return nullptr;
    }
  }

 private:
  std::vector<const char*> names_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_;
};

}  // namespace hyperseg
