// Every operator of ours as ONNX Runtime custom operators for the CPU provider, in one library.
#include "ort_attention.h"
#include "ort_readout.h"
#include "ort_resize.h"

// What SessionOptions.register_custom_ops_library looks for.
extern "C" __attribute__((visibility("default"))) hyperseg::ort::Status* RegisterCustomOps(
    hyperseg::ort::SessionOptions* options, const hyperseg::ort::ApiBase* base) {
  using namespace hyperseg;
  static const ort::CustomOp given = ort::description<GivenKernel<float>>(),
                             projected = ort::description<ProjectedKernel<float>>(),
                             readout = ort::description<ReadoutKernel<float>>(),
                             resize = ort::description<ResizeKernel<float>>();
  std::vector<const ort::CustomOp*> operators = {&given, &projected, &readout, &resize};
#ifdef HYPERSEG_HOST_HALF
  static const ort::CustomOp given_half = ort::description<GivenKernel<Half>>(),
                             projected_half = ort::description<ProjectedKernel<Half>>(),
                             readout_half = ort::description<ReadoutKernel<Half>>(),
                             resize_half = ort::description<ResizeKernel<Half>>();
  operators.insert(operators.end(), {&given_half, &projected_half, &readout_half, &resize_half});
#endif
  return ort::register_operators(options, base, operators);
}
