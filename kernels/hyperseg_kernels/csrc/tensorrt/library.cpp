// What TensorRT and its users ask of the library: it registers its plugins, lists their creators and logs.
#include <mutex>

#include "attention_plugin.h"
#include "plugin.h"
#include "readout_plugin.h"
#include "resize_plugin.h"

namespace hyperseg {
namespace {

nvinfer1::ILoggerFinder* logger_finder = nullptr;
std::mutex logger_mutex;

nvinfer1::IPluginCreatorInterface* const* creators(int32_t& count) {
  static Creator<GivenAttentionPlugin> given;
  static Creator<ProjectedAttentionPlugin> projected;
  static Creator<MaskReadoutPlugin> readout;
  static Creator<PillowResizePlugin> resize;
  static nvinfer1::IPluginCreatorInterface* const all[] = {&given, &projected, &readout, &resize};
  count = 4;
  return all;
}

// Triton, polygraphy and LD_PRELOAD only load the library: it registers itself, under the namespace that the
// ONNX nodes name (the macro of NvInfer.h would leave the namespace empty).
class Registration {
 public:
  Registration() {
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* all = creators(count);
    nvinfer1::IPluginRegistry* registry = getPluginRegistry();
    for (int32_t index = 0; registry && index < count; ++index)
      if (registry->registerCreator(*all[index], kPluginNamespace)) done_.push_back(all[index]);
  }
  void undo() {
    for (nvinfer1::IPluginCreatorInterface* creator : done_) getPluginRegistry()->deregisterCreator(*creator);
    done_.clear();
  }

 private:
  std::vector<nvinfer1::IPluginCreatorInterface*> done_;
};
Registration registration;

}  // namespace

void log_error(const std::string& message) {
  const std::lock_guard<std::mutex> lock(logger_mutex);
  nvinfer1::ILogger* logger = logger_finder ? logger_finder->findLogger() : getLogger();
  if (logger)
    logger->log(nvinfer1::ILogger::Severity::kERROR, (std::string(kPluginNamespace) + "::" + message).c_str());
}

}  // namespace hyperseg

// IPluginRegistry::loadLibrary, trtexec --dynamicPlugins and plugins_to_serialize ask for the creators and register
// them as the library's; they fail on one that is registered already.
extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  hyperseg::registration.undo();
  return hyperseg::creators(count);
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  const std::lock_guard<std::mutex> lock(hyperseg::logger_mutex);
  hyperseg::logger_finder = finder;
}
