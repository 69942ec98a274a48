// ONNX Runtime kernel of hyperseg::MaskReadout; logits are float or Half.
#pragma once

#include <vector>

#include "masks.h"
#include "ort_op.h"

namespace hyperseg {

template <class T>
HYPERSEG_INLINE void read_alone(const Masks<T>& all, int64_t index) {
  const Item<T> item = item_of(all, index);
  std::vector<float> buffer(all.width);
  Statistics found;
  const auto combined = [&](int row, float* line) {
    return combine<T, 1>(item.logits, all.width, all.rows, row, 0, line);
  };
  read_item<1, 1>(all, item, 0, 1, 0, buffer.data(), combined, found);
  if (!item.sum) return;
  *item.sum = static_cast<float>(found.sum);
  *item.area = found.area;
}

// Templates have no versions per instruction set, so each type has a plain function.
HYPERSEG_PER_CPU inline void run_item(const Masks<float>& all, int64_t index) { read_alone(all, index); }
#ifdef HYPERSEG_HOST_HALF
HYPERSEG_PER_CPU inline void run_item(const Masks<Half>& all, int64_t index) { read_alone(all, index); }
#endif

template <class T>
struct ReadoutKernel {
  static constexpr const char* kName = "MaskReadout";
  static constexpr ort::ElementType kFloat = ort::ElementType::kFloat, kInt32 = ort::ElementType::kInt32;
  static constexpr std::array kInputs = {ort::kElementType<T>, kInt32, kInt32, kFloat, kInt32, kFloat};
  static constexpr std::array kOutputs = {kFloat, kInt32, ort::ElementType::kBool};
  ort::Api api;

  static ort::Status* create(const ort::Api& api, const ort::KernelInfo*, ReadoutKernel** kernel) {
    *kernel = new ReadoutKernel{api};
    return nullptr;
  }

  ort::Status* compute(ort::KernelContext* context) const {
    std::array<ort::Tensor, 6> inputs;
    if (ort::Status* status = ort::read_inputs(api, context, &inputs)) return status;
    const auto& [logits, shown, row_index, row_weight, column_index, column_weight] = inputs;
    if (const char* wrong = what_is_wrong(inputs)) return api.error(ort::ErrorCode::kInvalidArgument, wrong);
    const int64_t images = logits.shape[0], queries = logits.shape[1], masks = shown.shape[1];
    Masks<T> all = {logits.as<T>(), shown.as<int>(), static_cast<int>(queries), static_cast<int>(masks),
                    static_cast<int>(logits.shape[2]), static_cast<int>(logits.shape[3]),
                    axis_of(row_index, row_weight), axis_of(column_index, column_weight), nullptr, nullptr, nullptr};
    const ort::Shape pixels = {images, masks, all.rows.size, all.columns.size};
    if (ort::Status* status = ort::make_output(api, context, 0, {images, queries, kParts}, &all.sums)) return status;
    if (ort::Status* status = ort::make_output(api, context, 1, {images, queries, kParts}, &all.areas)) return status;
    if (ort::Status* status = ort::make_output(api, context, 2, pixels, &all.pixels)) return status;
    return ort::parallel_for(api, context, items(all, images), [&](int64_t index) { run_item(all, index); });
  }

 private:
  static const char* what_is_wrong(const std::array<ort::Tensor, 6>& inputs) {
    const auto& [logits, shown, row_index, row_weight, column_index, column_weight] = inputs;
    if (logits.shape.size() != 4 || shown.shape.size() != 2 || shown.shape[0] != logits.shape[0])
      return "expected mask_logits (B, Q, h, w) and shown (B, M)";
    if (!is_axis(row_index, row_weight, logits.shape[2]))
      return "expected row_index and row_weight (4, H) with rows of mask_logits";
    if (!is_axis(column_index, column_weight, logits.shape[3]))
      return "expected column_index and column_weight (4, W) with columns of mask_logits";
    if (row_index.shape[1] * column_index.shape[1] > INT32_MAX) return "the image has 2^31 pixels or more";
    if (!all_below(shown, logits.shape[1])) return "shown names a query that is not there";
    return nullptr;
  }
  static Axis axis_of(const ort::Tensor& index, const ort::Tensor& weight) {
    return {index.as<int>(), weight.as<float>(), static_cast<int>(index.shape[1])};
  }
  static bool is_axis(const ort::Tensor& index, const ort::Tensor& weight, int64_t source) {
    return index.shape.size() == 2 && index.shape[0] == kTaps && index.shape == weight.shape &&
           index.shape[1] <= INT32_MAX / kTaps && all_below(index, source);
  }
  static bool all_below(const ort::Tensor& numbers, int64_t limit) {
    int64_t count = 1;
    for (const int64_t extent : numbers.shape) count *= extent;
    for (int64_t place = 0; place < count; ++place)
      if (const int number = numbers.as<int>()[place]; number < 0 || number >= limit) return false;
    return true;
  }
};

}  // namespace hyperseg
