// Every operator of ours as ONNX Runtime custom operators for the CPU provider, in one library.
#include "ort_attention.h"
#include "ort_readout.h"

// What SessionOptions.register_custom_ops_library looks for.
extern "C" __attribute__((visibility("default"))) hyperseg::ort::Status* RegisterCustomOps(
    hyperseg::ort::SessionOptions* options, const hyperseg::ort::ApiBase* base) {
  using namespace hyperseg;
  static const ort::CustomOp given = ort::description<GivenKernel<float>>(),
                             given_half = ort::description<GivenKernel<Half>>(),
                             projected = ort::description<ProjectedKernel<float>>(),
                             projected_half = ort::description<ProjectedKernel<Half>>(),
                             readout = ort::description<ReadoutKernel<float>>(),
                             readout_half = ort::description<ReadoutKernel<Half>>();
  return ort::register_operators(options, base,
                                 {&given, &given_half, &projected, &projected_half, &readout, &readout_half});
}
