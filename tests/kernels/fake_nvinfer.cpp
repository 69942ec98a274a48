// Stands in for libnvinfer.so: a plugin registry, a logger, and calls that TensorRT would make of a plugin.
#include <NvInfer.h>

#include <string>
#include <vector>

using namespace nvinfer1;

namespace {

struct Registry final : IPluginRegistry {
  std::vector<IPluginCreatorInterface*> creators;
  std::vector<std::string> namespaces;

  bool registerCreator(IPluginCreatorInterface& creator, const char* name_space) noexcept override {
    creators.push_back(&creator);
    namespaces.emplace_back(name_space);
    return true;
  }
  IPluginCreatorInterface* getCreator(const char*, const char*, const char*) noexcept override {
    return creators.empty() ? nullptr : creators.front();
  }
  IPluginCreatorInterface* const* getAllCreators(int32_t* count) const noexcept override {
    *count = static_cast<int32_t>(creators.size());
    return creators.data();
  }
  IPluginCreatorInterface* const* getAllCreatorsRecursive(int32_t* count) noexcept override {
    return getAllCreators(count);
  }
  void setErrorRecorder(IErrorRecorder*) noexcept override {}
  IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return false; }
  void setParentSearchEnabled(bool) override {}
  PluginLibraryHandle loadLibrary(const char*) noexcept override { return nullptr; }
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
  bool deregisterCreator(const IPluginCreatorInterface& creator) noexcept override {
    for (size_t index = 0; index < creators.size(); ++index)
      if (creators[index] == &creator) {
        creators.erase(creators.begin() + index);
        namespaces.erase(namespaces.begin() + index);
        return true;
      }
    return false;
  }
  IPluginResource* acquirePluginResource(const char*, IPluginResource*) noexcept override { return nullptr; }
  int32_t releasePluginResource(const char*) noexcept override { return 0; }
};

struct Logger final : ILogger {
  std::string last;
  void log(Severity, const char* message) noexcept override { last = message; }
};

struct Expression final : IDimensionExpr, apiv::VDimensionExpr {
  int64_t value;
  explicit Expression(int64_t number) : value(number) { IDimensionExpr::mImpl = this; }
  bool isConstant() const override { return true; }
  int64_t getConstantValue() const override { return value; }
  bool isSizeTensor() const override { return false; }
};

struct Builder final : IExprBuilder, apiv::VExprBuilder {
  Builder() { IExprBuilder::mImpl = this; }
  const IDimensionExpr* constant(int64_t value) override { return new Expression(value); }
  const IDimensionExpr* operation(DimensionOperation op, const IDimensionExpr& a, const IDimensionExpr& b) override {
    return op == DimensionOperation::kPROD ? constant(a.getConstantValue() * b.getConstantValue()) : nullptr;
  }
  const IDimensionExpr* declareSizeTensor(int32_t, const IDimensionExpr&, const IDimensionExpr&) override {
    return nullptr;
  }
};

Registry registry;
Logger logger;
IPluginV3* plugin = nullptr;
std::string text;

IPluginV3OneBuild* build() {
  return static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
}
IPluginV3OneRuntime* runtime() {
  return static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}
Dims dims(const int64_t* sizes, int32_t count) {
  Dims made{count, {}};
  for (int32_t index = 0; index < count; ++index) made.d[index] = sizes[index];
  return made;
}

}  // namespace

extern "C" {

IPluginRegistry* getPluginRegistry() noexcept { return &registry; }
ILogger* getLogger() noexcept { return &logger; }

const char* last_message() { return logger.last.c_str(); }

// "registered namespace, name, version, namespace, field ..." of every registered creator.
const char* registered() {
  text.clear();
  for (size_t index = 0; index < registry.creators.size(); ++index) {
    auto* creator = static_cast<IPluginCreatorV3One*>(registry.creators[index]);
    text += registry.namespaces[index] + " " + creator->getPluginName() + " " + creator->getPluginVersion() + " " +
            creator->getPluginNamespace();
    const PluginFieldCollection* fields = creator->getFieldNames();
    for (int32_t field = 0; field < fields->nbFields; ++field) text += std::string(" ") + fields->fields[field].name;
    text += "\n";
  }
  return text.c_str();
}

// As TensorRT loads a library; true if it had no creator registered by then.
bool load_library(IPluginCreatorInterface* const* (*get_creators)(int32_t&)) {
  int32_t count = 0;
  IPluginCreatorInterface* const* creators = get_creators(count);
  if (count != 1 || !registry.creators.empty()) return false;
  return registry.registerCreator(*creators[0], static_cast<IPluginCreatorV3One*>(creators[0])->getPluginNamespace());
}

// A plugin as a parser makes it, then a copy as an engine makes it from serialised fields.
bool create(const void* level_shapes, int32_t type, int32_t count) {
  auto* creator = static_cast<IPluginCreatorV3One*>(registry.creators.front());
  PluginField field{"level_shapes", level_shapes, static_cast<PluginFieldType>(type), count};
  PluginFieldCollection fields{1, &field};
  plugin = creator->createPlugin("node", &fields, TensorRTPhase::kBUILD);
  if (!plugin) return false;
  plugin = creator->createPlugin("node", runtime()->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
  return plugin != nullptr && plugin->clone() != nullptr;
}

bool supports(const int32_t* types, int32_t position) {
  DynamicPluginTensorDesc tensors[4] = {};
  for (int32_t index = 0; index < 4; ++index) {
    tensors[index].desc.type = static_cast<DataType>(types[index]);
    tensors[index].desc.format = TensorFormat::kLINEAR;
  }
  return build()->supportsFormatCombination(position, tensors, 3, 1);
}

int32_t output_type(int32_t value_type) {
  const DataType inputs[3] = {static_cast<DataType>(value_type), DataType::kFLOAT, DataType::kFLOAT};
  DataType output = DataType::kINT8;
  build()->getOutputDataTypes(&output, 1, inputs, 3);
  return static_cast<int32_t>(output);
}

// Sizes of value, locations and weights, `ranks` of them each; returns the rank of the output, or -1.
int32_t output_shape(const int64_t* sizes, const int32_t* ranks, int64_t* output) {
  DimsExprs inputs[3] = {}, outputs[1] = {};
  for (int32_t input = 0; input < 3; ++input) {
    inputs[input].nbDims = ranks[input];
    for (int32_t axis = 0; axis < ranks[input]; ++axis) inputs[input].d[axis] = new Expression(*sizes++);
  }
  Builder builder;
  if (build()->getOutputShapes(inputs, 3, nullptr, 0, outputs, 1, builder) != 0) return -1;
  for (int32_t axis = 0; axis < outputs[0].nbDims; ++axis) output[axis] = outputs[0].d[axis]->getConstantValue();
  return outputs[0].nbDims;
}

int32_t shape_change(const int64_t* value, const int64_t* weights) {
  PluginTensorDesc inputs[3] = {}, outputs[1] = {};
  inputs[0].dims = dims(value, 4);
  inputs[2].dims = dims(weights, 5);
  return runtime()->onShapeChange(inputs, 3, outputs, 1);
}

}  // extern "C"
