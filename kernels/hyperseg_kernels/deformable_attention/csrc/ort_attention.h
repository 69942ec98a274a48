// ONNX Runtime kernels of hyperseg::MultiScaleDeformableAttention and hyperseg::ProjectedDeformableAttention; values
// are float or Half.
#pragma once

#include <algorithm>

#include "cpu_attention.h"
#include "levels.h"

namespace hyperseg {

constexpr int64_t kQueriesPerTask = 64;

// What both operators read from a node: level_shapes.
template <class Kernel>
inline ort::Status* create_with_levels(const ort::Api& api, const ort::KernelInfo* info, Kernel** kernel) {
  std::vector<int64_t> extents;
  if (ort::Status* status = ort::read_ints(api, info, "level_shapes", &extents)) return status;
  Levels levels = {};
  if (const char* wrong = read_levels(extents.data(), extents.size(), &levels))
    return api.error(ort::ErrorCode::kInvalidArgument, wrong);
  *kernel = new Kernel{api, levels};
  return nullptr;
}

// Both operators on one batch: value (B, S, H, D) and something of shape (B, Q, H, L, P) that the samples come from.
struct Batch {
  int64_t images, queries;
  Layer layer;

  int64_t tasks_per_image() const { return (queries + kQueriesPerTask - 1) / kQueriesPerTask; }
  int64_t tasks() const { return images * tasks_per_image(); }
};

inline const char* read_batch(const Levels& levels, const ort::Shape& value, const ort::Shape& weights, Batch* batch) {
  const ort::Shape expected = {value[0], weights[1], value[2], levels.count, weights[4]};
  if (weights != expected) return "shapes of the inputs do not fit together";
  if (value[1] != levels.rows()) return "level_shapes do not cover the rows of value";
  if (value[1] * value[2] * value[3] > INT32_MAX) return "one image has 2^31 values or more";
  *batch = {value[0], weights[1],
            {static_cast<int>(value[2]), static_cast<int>(value[3]), static_cast<int>(weights[4]), levels}};
  return nullptr;
}

// One task: up to kQueriesPerTask queries of one image. `samples_of(image, query, item)`: `item` counts (image, query,
// head).
template <class T, class SamplesOf>
HYPERSEG_INLINE void attend_task(const Batch& batch, int64_t task, const T* value, T* output,
                                 const SamplesOf& samples_of) {
  const Layer& layer = batch.layer;
  const int64_t image = task / batch.tasks_per_image(), first = task % batch.tasks_per_image() * kQueriesPerTask;
  const int64_t width = int64_t{layer.heads} * layer.channels, before = image * batch.queries;
  attend_queries(layer, value + image * layer.levels.rows() * width, output + before * width, first,
                 std::min(first + kQueriesPerTask, batch.queries),
                 [&](int64_t query, int64_t item) { return samples_of(image, query, before * layer.heads + item); });
}

template <class T>
struct GivenInputs {
  Batch batch;
  const T* value;
  const float *locations, *weights;
  T* output;
};

template <class T>
HYPERSEG_INLINE void run_given(const GivenInputs<T>& inputs, int64_t task) {
  const int64_t samples = inputs.batch.layer.samples();
  attend_task(inputs.batch, task, inputs.value, inputs.output, [&](int64_t, int64_t, int64_t item) {
    return GivenSamples{inputs.locations + 2 * item * samples, inputs.weights + item * samples};
  });
}

// References of shape (1 or B, Q, 1 or L, 2 or 4): strides count floats, 0 repeats them.
template <class T>
struct ProjectedInputs {
  Batch batch;
  const T* value;
  const float* references;
  int64_t image_stride, query_stride;
  int level_stride;
  const T *offsets, *logits;
  T* output;
};

template <class T, int kReferenceSize>
HYPERSEG_INLINE void run_projected(const ProjectedInputs<T>& inputs, int64_t task) {
  const Layer& layer = inputs.batch.layer;
  const int64_t samples = layer.samples();
  attend_task(inputs.batch, task, inputs.value, inputs.output, [&](int64_t image, int64_t query, int64_t item) {
    const float* references = inputs.references + image * inputs.image_stride + query * inputs.query_stride;
    return ProjectedSamples<T, kReferenceSize>(layer, inputs.offsets + 2 * item * samples,
                                               inputs.logits + item * samples, references, inputs.level_stride);
  });
}

// Templates have no versions per instruction set, so each type has plain functions.
#define HYPERSEG_TASKS(T)                                                                                       \
  HYPERSEG_PER_CPU inline void run_task(const GivenInputs<T>& inputs, int64_t task) { run_given(inputs, task); } \
  HYPERSEG_PER_CPU inline void run_points(const ProjectedInputs<T>& inputs, int64_t task) {                      \
    run_projected<T, 2>(inputs, task);                                                                          \
  }                                                                                                             \
  HYPERSEG_PER_CPU inline void run_boxes(const ProjectedInputs<T>& inputs, int64_t task) {                       \
    run_projected<T, 4>(inputs, task);                                                                          \
  }
HYPERSEG_TASKS(float)
#ifdef HYPERSEG_HOST_HALF
HYPERSEG_TASKS(Half)
#endif

template <class T>
struct GivenKernel {
  static constexpr const char* kName = "MultiScaleDeformableAttention";
  static constexpr ort::ElementType kFloat = ort::ElementType::kFloat, kValue = ort::kElementType<T>;
  static constexpr std::array kInputs = {kValue, kFloat, kFloat};
  static constexpr std::array kOutputs = {kValue};
  ort::Api api;
  Levels levels;

  static ort::Status* create(const ort::Api& api, const ort::KernelInfo* info, GivenKernel** kernel) {
    return create_with_levels(api, info, kernel);
  }

  ort::Status* compute(ort::KernelContext* context) const {
    std::array<ort::Tensor, 3> inputs;
    if (ort::Status* status = ort::read_inputs(api, context, &inputs)) return status;
    const auto& [value, locations, weights] = inputs;
    if (value.shape.size() != 4 || locations.shape.size() != 6 || weights.shape.size() != 5)
      return invalid("expected value (B, S, H, D), sampling_locations (B, Q, H, L, P, 2), "
                     "attention_weights (B, Q, H, L, P)");
    GivenInputs<T> work = {{}, value.as<T>(), locations.as<float>(), weights.as<float>(), nullptr};
    if (const char* wrong = read_batch(levels, value.shape, weights.shape, &work.batch)) return invalid(wrong);
    ort::Shape locations_shape = weights.shape;
    locations_shape.push_back(2);
    if (locations.shape != locations_shape) return invalid("shapes of the inputs do not fit together");
    const ort::Shape shape = {value.shape[0], weights.shape[1], value.shape[2] * value.shape[3]};
    if (ort::Status* status = ort::make_output(api, context, 0, shape, &work.output)) return status;
    return ort::parallel_for(api, context, work.batch.tasks(), [&](int64_t task) { run_task(work, task); });
  }

  ort::Status* invalid(const char* message) const { return api.error(ort::ErrorCode::kInvalidArgument, message); }
};

template <class T>
struct ProjectedKernel {
  static constexpr const char* kName = "ProjectedDeformableAttention";
  static constexpr ort::ElementType kFloat = ort::ElementType::kFloat, kValue = ort::kElementType<T>;
  static constexpr std::array kInputs = {kValue, kFloat, kValue, kValue};
  static constexpr std::array kOutputs = {kValue};
  ort::Api api;
  Levels levels;

  static ort::Status* create(const ort::Api& api, const ort::KernelInfo* info, ProjectedKernel** kernel) {
    return create_with_levels(api, info, kernel);
  }

  ort::Status* compute(ort::KernelContext* context) const {
    std::array<ort::Tensor, 4> inputs;
    if (ort::Status* status = ort::read_inputs(api, context, &inputs)) return status;
    const auto& [value, references, offsets, logits] = inputs;
    if (value.shape.size() != 4 || references.shape.size() != 4 || offsets.shape.size() != 6 || logits.shape.size() != 5)
      return invalid("expected value (B, S, H, D), references (1 or B, Q, 1 or L, 2 or 4), offsets (B, Q, H, L, P, 2), "
                     "logits (B, Q, H, L, P)");
    ProjectedInputs<T> work = {{}, value.as<T>(), references.as<float>(), 0, 0, 0, offsets.as<T>(), logits.as<T>(), nullptr};
    if (const char* wrong = read_batch(levels, value.shape, logits.shape, &work.batch)) return invalid(wrong);
    ort::Shape offsets_shape = logits.shape;
    offsets_shape.push_back(2);
    const int64_t images = references.shape[0], per_query = references.shape[2], size = references.shape[3];
    const bool fits = (images == 1 || images == value.shape[0]) && references.shape[1] == logits.shape[1] &&
                      (per_query == 1 || per_query == levels.count) && (size == 2 || size == 4);
    if (!fits || offsets.shape != offsets_shape) return invalid("shapes of the inputs do not fit together");
    work.level_stride = per_query > 1 ? static_cast<int>(size) : 0;
    work.query_stride = per_query * size;
    work.image_stride = images > 1 ? work.query_stride * references.shape[1] : 0;
    const ort::Shape shape = {value.shape[0], logits.shape[1], value.shape[2] * value.shape[3]};
    if (ort::Status* status = ort::make_output(api, context, 0, shape, &work.output)) return status;
    return ort::parallel_for(api, context, work.batch.tasks(), [&](int64_t task) {
      if (size == 2) run_points(work, task);
      else run_boxes(work, task);
    });
  }

  ort::Status* invalid(const char* message) const { return api.error(ort::ErrorCode::kInvalidArgument, message); }
};

}  // namespace hyperseg
