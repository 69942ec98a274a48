#include "readout_plugin.h"

namespace hyperseg {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;

enum Input { kLogits, kShown, kRowIndex, kRowWeight, kColumnIndex, kColumnWeight };
constexpr int32_t kRanks[] = {4, 2, 2, 2, 2, 2};
constexpr DataType kTableTypes[] = {DataType::kINT32, DataType::kINT32, DataType::kFLOAT, DataType::kINT32,
                                    DataType::kFLOAT};
constexpr DataType kOutputTypes[] = {DataType::kFLOAT, DataType::kINT32, DataType::kBOOL};

bool is_axis(const Dims& index, const Dims& weight) {
  return index.d[0] == kTaps && weight.d[0] == kTaps && index.d[1] == weight.d[1];
}

template <class T>
Masks<T> masks(const nvinfer1::PluginTensorDesc* types, const void* const* inputs, void* const* outputs) {
  const Dims &logits = types[kLogits].dims, &shown = types[kShown].dims;
  const auto axis = [&](int index, int weight) {
    return Axis{static_cast<const int*>(inputs[index]), static_cast<const float*>(inputs[weight]),
                static_cast<int>(types[index].dims.d[1])};
  };
  return {static_cast<const T*>(inputs[kLogits]), static_cast<const int*>(inputs[kShown]),
          static_cast<int>(logits.d[1]), static_cast<int>(shown.d[1]),
          static_cast<int>(logits.d[2]), static_cast<int>(logits.d[3]),
          axis(kRowIndex, kRowWeight), axis(kColumnIndex, kColumnWeight),
          static_cast<float*>(outputs[0]), static_cast<int*>(outputs[1]), static_cast<bool*>(outputs[2])};
}

}  // namespace

bool MaskReadoutPlugin::takes(int32_t position, DataType type, DataType) {
  return position == kLogits ? is_value_type(type) : type == kTableTypes[position - 1];
}

DataType MaskReadoutPlugin::output_type(int32_t position, DataType) { return kOutputTypes[position]; }

int32_t MaskReadoutPlugin::getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count,
                                           const nvinfer1::DimsExprs*, int32_t, nvinfer1::DimsExprs* outputs, int32_t,
                                           nvinfer1::IExprBuilder& builder) noexcept {
  bool fits = input_count == kInputs;
  for (int32_t input = 0; fits && input < kInputs; ++input) fits = inputs[input].nbDims == kRanks[input];
  if (!fits) return failed("expected mask_logits (B, Q, h, w), shown (B, M), row tables (4, H), column tables (4, W)");
  for (int32_t output : {0, 1}) {
    outputs[output].nbDims = 3;
    for (int32_t axis : {0, 1}) outputs[output].d[axis] = inputs[kLogits].d[axis];
    outputs[output].d[2] = builder.constant(kParts);
  }
  outputs[2].nbDims = 4;
  outputs[2].d[0] = inputs[kShown].d[0];
  outputs[2].d[1] = inputs[kShown].d[1];
  outputs[2].d[2] = inputs[kRowIndex].d[1];
  outputs[2].d[3] = inputs[kColumnIndex].d[1];
  return 0;
}

int32_t MaskReadoutPlugin::onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t,
                                         const nvinfer1::PluginTensorDesc*, int32_t) noexcept {
  const Dims& logits = inputs[kLogits].dims;
  if (inputs[kShown].dims.d[0] != logits.d[0]) return failed("mask_logits and shown have different batches");
  if (!is_axis(inputs[kRowIndex].dims, inputs[kRowWeight].dims) ||
      !is_axis(inputs[kColumnIndex].dims, inputs[kColumnWeight].dims))
    return failed("index and weight of an axis must both be (4, size)");
  if (inputs[kRowIndex].dims.d[1] * inputs[kColumnIndex].dims.d[1] > INT32_MAX)
    return failed("the image has 2^31 pixels or more");
  if (logits.d[3] > kMaxReadoutWidth)
    return failed("mask_logits are " + std::to_string(logits.d[3]) + " px wide, at most " +
                  std::to_string(kMaxReadoutWidth) + " fit the shared memory of a GPU");
  return 0;
}

int32_t MaskReadoutPlugin::enqueue(const nvinfer1::PluginTensorDesc* input_types, const nvinfer1::PluginTensorDesc*,
                                   const void* const* inputs, void* const* outputs, void*,
                                   cudaStream_t stream) noexcept {
  const long long images = input_types[kLogits].dims.d[0];
  cudaError_t status = cudaErrorInvalidValue;
  switch (input_types[kLogits].type) {
    case DataType::kFLOAT: status = launch_readout(masks<float>(input_types, inputs, outputs), images, stream); break;
    case DataType::kHALF: status = launch_readout(masks<Half>(input_types, inputs, outputs), images, stream); break;
    case DataType::kBF16: status = launch_readout(masks<BFloat16>(input_types, inputs, outputs), images, stream); break;
    default: break;
  }
  return status == cudaSuccess ? 0 : failed(cudaGetErrorString(status));
}

}  // namespace hyperseg
