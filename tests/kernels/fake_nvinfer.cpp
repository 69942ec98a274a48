// Stands in for libnvinfer.so: a plugin registry, a logger, and calls that TensorRT would make of a plugin.
#include <NvInfer.h>

#include <memory>
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
  IPluginCreatorInterface* getCreator(const char* name, const char*, const char*) noexcept override {
    for (IPluginCreatorInterface* creator : creators)
      if (std::string(static_cast<IPluginCreatorV3One*>(creator)->getPluginName()) == name) return creator;
    return nullptr;
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
  const IDimensionExpr* constant(int64_t value) override;
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
Expression* expression(int64_t size) {
  static std::vector<std::unique_ptr<Expression>> kept;
  kept.push_back(std::make_unique<Expression>(size));
  return kept.back().get();
}

const IDimensionExpr* Builder::constant(int64_t value) { return expression(value); }

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
  if (!registry.creators.empty()) return false;
  for (int32_t index = 0; index < count; ++index)
    if (!registry.registerCreator(*creators[index],
                                  static_cast<IPluginCreatorV3One*>(creators[index])->getPluginNamespace()))
      return false;
  return true;
}

// A plugin as a parser makes it, then a copy as an engine makes it from serialised fields. No field is handed over
// without a name for it.
bool create(const char* name, const char* field_name, const void* data, int32_t type, int32_t count) {
  auto* creator = static_cast<IPluginCreatorV3One*>(registry.getCreator(name, "", ""));
  PluginField field{field_name, data, static_cast<PluginFieldType>(type), count};
  PluginFieldCollection fields{field_name ? 1 : 0, &field};
  plugin = creator->createPlugin("node", &fields, TensorRTPhase::kBUILD);
  if (!plugin) return false;
  plugin = creator->createPlugin("node", runtime()->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
  return plugin != nullptr && plugin->clone() != nullptr;
}

bool supports(const int32_t* types, int32_t position, int32_t inputs, int32_t outputs) {
  DynamicPluginTensorDesc tensors[16] = {};
  for (int32_t index = 0; index < inputs + outputs; ++index) {
    tensors[index].desc.type = static_cast<DataType>(types[index]);
    tensors[index].desc.format = TensorFormat::kLINEAR;
  }
  return build()->supportsFormatCombination(position, tensors, inputs, outputs);
}

bool counts(int32_t inputs, int32_t outputs) {
  return build()->getNbOutputs() == outputs && build()->configurePlugin(nullptr, inputs, nullptr, outputs) == 0;
}

void output_types(const int32_t* inputs, int32_t input_count, int32_t* outputs, int32_t output_count) {
  DataType given[16], made[16];
  for (int32_t index = 0; index < input_count; ++index) given[index] = static_cast<DataType>(inputs[index]);
  build()->getOutputDataTypes(made, output_count, given, input_count);
  for (int32_t index = 0; index < output_count; ++index) outputs[index] = static_cast<int32_t>(made[index]);
}

// `sizes` of all inputs, `ranks` of them each; writes rank and sizes of every output. 0, or -1 where refused.
int32_t output_shapes(const int64_t* sizes, const int32_t* ranks, int32_t input_count, int32_t output_count,
                      int64_t* written) {
  DimsExprs inputs[16] = {}, outputs[16] = {};
  for (int32_t input = 0; input < input_count; ++input) {
    inputs[input].nbDims = ranks[input];
    for (int32_t axis = 0; axis < ranks[input]; ++axis) inputs[input].d[axis] = expression(*sizes++);
  }
  Builder builder;
  if (build()->getOutputShapes(inputs, input_count, nullptr, 0, outputs, output_count, builder) != 0) return -1;
  for (int32_t output = 0; output < output_count; ++output) {
    *written++ = outputs[output].nbDims;
    for (int32_t axis = 0; axis < outputs[output].nbDims; ++axis)
      *written++ = outputs[output].d[axis]->getConstantValue();
  }
  return 0;
}

int32_t shape_change(const int64_t* sizes, const int32_t* ranks, int32_t input_count) {
  PluginTensorDesc inputs[16] = {}, outputs[16] = {};
  for (int32_t input = 0; input < input_count; ++input) {
    inputs[input].dims.nbDims = ranks[input];
    for (int32_t axis = 0; axis < ranks[input]; ++axis) inputs[input].dims.d[axis] = *sizes++;
  }
  return runtime()->onShapeChange(inputs, input_count, outputs, 0);
}

}  // extern "C"
