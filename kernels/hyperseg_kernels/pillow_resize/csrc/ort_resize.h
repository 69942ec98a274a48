// ONNX Runtime kernel of hyperseg::PillowResize; pixels are float or Half.
#pragma once

#include "ort_op.h"
#include "resize.h"

namespace hyperseg {

template <class T>
struct ResizeKernel {
  static constexpr const char* kName = "PillowResize";
  static constexpr ort::ElementType kInt32 = ort::ElementType::kInt32;
  static constexpr std::array kInputs = {ort::kElementType<T>, kInt32, kInt32, kInt32, kInt32, kInt32, kInt32};
  static constexpr std::array kOutputs = {ort::kElementType<T>};
  ort::Api api;

  static ort::Status* create(const ort::Api& api, const ort::KernelInfo*, ResizeKernel** kernel) {
    *kernel = new ResizeKernel{api};
    return nullptr;
  }

  ort::Status* compute(ort::KernelContext* context) const {
    std::array<ort::Tensor, 7> inputs;
    if (ort::Status* status = ort::read_inputs(api, context, &inputs)) return status;
    const ort::Tensor& pixels = inputs[0];
    if (pixels.shape.size() != 4 || !is_axis(inputs[1], inputs[2], pixels.shape[1]) ||
        !is_axis(inputs[3], inputs[4], pixels.shape[2]) || !is_axis(inputs[5], inputs[6], inputs[1].shape[1]))
      return api.error(ort::ErrorCode::kInvalidArgument,
                       "expected pixels (B, h, w, C) and tables (taps, size) whose sources are there");
    Resize<T> all = {pixels.as<T>(), static_cast<int>(pixels.shape[1]), static_cast<int>(pixels.shape[2]),
                     static_cast<int>(pixels.shape[3]), taps_of(inputs[1], inputs[2]),
                     taps_of(inputs[3], inputs[4]), taps_of(inputs[5], inputs[6]), nullptr};
    const ort::Shape shape = {pixels.shape[0], all.last_rows.size, all.columns.size, all.channels};
    if (ort::Status* status = ort::make_output(api, context, 0, shape, &all.resized)) return status;
    const int64_t line = int64_t{all.columns.size} * all.channels;
    return ort::parallel_for(api, context, shape[0] * shape[1], [&](int64_t row) {
      for (int64_t place = row * line; place < (row + 1) * line; ++place) resize_one(all, place);
    });
  }

 private:
  static Taps taps_of(const ort::Tensor& index, const ort::Tensor& weight) {
    return {index.as<int>(), weight.as<int>(), static_cast<int>(index.shape[0]), static_cast<int>(index.shape[1])};
  }
  static bool is_axis(const ort::Tensor& index, const ort::Tensor& weight, int64_t source) {
    if (index.shape.size() != 2 || index.shape != weight.shape) return false;
    for (int64_t place = 0; place < index.shape[0] * index.shape[1]; ++place)
      if (const int number = index.as<int>()[place]; number < 0 || number >= source) return false;
    return true;
  }
};

}  // namespace hyperseg
