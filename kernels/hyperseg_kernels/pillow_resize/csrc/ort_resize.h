// ONNX Runtime kernel of hyperseg::PillowResize; pixels are float or Half.
#pragma once

#include "ort_op.h"
#include "resize.h"

namespace hyperseg {

// One line of the result's width out of one of the source, and one line of the result out of those.
template <class T>
HYPERSEG_INLINE void widen(const Resize<T>& all, int64_t line, unsigned char* wide) {
  const T* source = all.pixels + line * all.width * all.channels;
  unsigned char* target = wide + line * all.columns.size * all.channels;
  for (int column = 0; column < all.columns.size; ++column)
    for (int channel = 0; channel < all.channels; ++channel)
      target[column * all.channels + channel] = static_cast<unsigned char>(
          weighted(all.columns, column, [&](int x) { return static_cast<int>(to_float(source[x * all.channels + channel])); }));
}

template <class T>
HYPERSEG_INLINE void heighten(const Resize<T>& all, int64_t line, const unsigned char* wide) {
  const int numbers = all.columns.size * all.channels, row = static_cast<int>(line % all.rows.size);
  const unsigned char* source = wide + line / all.rows.size * all.height * numbers;
  for (int number = 0; number < numbers; ++number) {
    const int byte = weighted(all.rows, row, [&](int y) { return static_cast<int>(source[int64_t{y} * numbers + number]); });
    from_float(static_cast<float>(byte), all.resized[line * numbers + number]);
  }
}

template <class T>
struct ResizeKernel {
  static constexpr const char* kName = "PillowResize";
  static constexpr ort::ElementType kInt32 = ort::ElementType::kInt32;
  static constexpr std::array kInputs = {ort::kElementType<T>, kInt32, kInt32, kInt32, kInt32};
  static constexpr std::array kOutputs = {ort::kElementType<T>};
  ort::Api api;

  static ort::Status* create(const ort::Api& api, const ort::KernelInfo*, ResizeKernel** kernel) {
    *kernel = new ResizeKernel{api};
    return nullptr;
  }

  ort::Status* compute(ort::KernelContext* context) const {
    std::array<ort::Tensor, 5> inputs;
    if (ort::Status* status = ort::read_inputs(api, context, &inputs)) return status;
    const auto& [pixels, row_index, row_weight, column_index, column_weight] = inputs;
    if (pixels.shape.size() != 4 || !is_axis(row_index, row_weight, pixels.shape[1]) ||
        !is_axis(column_index, column_weight, pixels.shape[2]))
      return api.error(ort::ErrorCode::kInvalidArgument,
                       "expected pixels (B, h, w, C), row tables (taps, H) over h and column tables (taps, W) over w");
    const int64_t images = pixels.shape[0];
    Resize<T> all = {pixels.as<T>(), static_cast<int>(pixels.shape[1]), static_cast<int>(pixels.shape[2]),
                     static_cast<int>(pixels.shape[3]), taps_of(row_index, row_weight),
                     taps_of(column_index, column_weight), nullptr};
    const ort::Shape shape = {images, all.rows.size, all.columns.size, all.channels};
    if (ort::Status* status = ort::make_output(api, context, 0, shape, &all.resized)) return status;
    std::vector<unsigned char> wide(images * all.height * all.columns.size * all.channels);
    const auto widen_line = [&](int64_t line) { widen(all, line, wide.data()); };
    const auto heighten_line = [&](int64_t line) { heighten(all, line, wide.data()); };
    if (ort::Status* status = ort::parallel_for(api, context, images * all.height, widen_line)) return status;
    return ort::parallel_for(api, context, images * all.rows.size, heighten_line);
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
