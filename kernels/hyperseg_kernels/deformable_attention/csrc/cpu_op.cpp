// ONNX Runtime custom operator hyperseg::MultiScaleDeformableAttention for the CPU provider, float32.
#include <algorithm>
#include <array>
#include <vector>

#include "cpu_attention.h"
#include "levels.h"
#include "ort_abi.h"

namespace hyperseg {
namespace {

using ort::Api;
using ort::ErrorCode;
using ort::Status;

constexpr int64_t kQueriesPerTask = 64;

struct Kernel {
  Api api;
  Levels levels;
};

struct Tensor {
  std::vector<int64_t> shape;
  float* data = nullptr;
};

Status* read_attributes(const Api& api, const ort::KernelInfo* info, Levels* levels) {
  size_t size = 0;
  if (Status* status = api.ints(info, "level_shapes", nullptr, &size)) return status;
  std::vector<int64_t> extents(size);
  if (Status* status = api.ints(info, "level_shapes", extents.data(), &size)) return status;
  if (const char* wrong = hyperseg::read_levels(extents.data(), size, levels))
    return api.error(ErrorCode::kInvalidArgument, wrong);
  return nullptr;
}

Status* read_tensor(const Api& api, const ort::KernelContext* context, size_t index, Tensor* tensor) {
  const ort::Value* value = nullptr;
  if (Status* status = api.input(context, index, &value)) return status;
  ort::TensorInfo* info = nullptr;
  if (Status* status = api.tensor_info(value, &info)) return status;
  size_t rank = 0;
  Status* status = api.rank(info, &rank);
  tensor->shape.resize(rank);
  if (!status) status = api.shape(info, tensor->shape.data(), rank);
  api.release(info);
  if (status) return status;
  return api.data(const_cast<ort::Value*>(value), reinterpret_cast<void**>(&tensor->data));
}

struct Task {
  CpuProblem problem;
  int64_t tasks_per_image;
  const float *value, *locations, *weights;
  float* output;
};

void run_task(void* user, size_t index) {
  const Task& task = *static_cast<const Task*>(user);
  const CpuProblem& problem = task.problem;
  const int64_t image = static_cast<int64_t>(index) / task.tasks_per_image;
  const int64_t first = static_cast<int64_t>(index) % task.tasks_per_image * kQueriesPerTask;
  const int64_t width = problem.heads * problem.channels;
  const int64_t samples = image * problem.queries * problem.heads * problem.levels.count * problem.points;
  attend_queries(problem, task.value + image * problem.rows * width, task.locations + 2 * samples,
                 task.weights + samples, task.output + image * problem.queries * width, first,
                 std::min(first + kQueriesPerTask, problem.queries));
}

Status* compute(void* kernel_pointer, ort::KernelContext* context) {
  const auto& [api, levels] = *static_cast<const Kernel*>(kernel_pointer);
  Tensor value, locations, weights;
  if (Status* status = read_tensor(api, context, 0, &value)) return status;
  if (Status* status = read_tensor(api, context, 1, &locations)) return status;
  if (Status* status = read_tensor(api, context, 2, &weights)) return status;
  if (value.shape.size() != 4 || locations.shape.size() != 6 || weights.shape.size() != 5)
    return api.error(ErrorCode::kInvalidArgument, "expected value (B, S, H, D), sampling_locations (B, Q, H, L, P, 2), "
                                                  "attention_weights (B, Q, H, L, P)");
  const int64_t batch = value.shape[0], rows = value.shape[1], heads = value.shape[2], channels = value.shape[3];
  const int64_t queries = weights.shape[1], points = weights.shape[4];
  const std::vector<int64_t> weights_shape = {batch, queries, heads, levels.count, points};
  std::vector<int64_t> locations_shape = weights_shape;
  locations_shape.push_back(2);
  if (weights.shape != weights_shape || locations.shape != locations_shape)
    return api.error(ErrorCode::kInvalidArgument, "value, sampling_locations and attention_weights do not fit together");
  if (rows != levels.rows())
    return api.error(ErrorCode::kInvalidArgument, "level_shapes do not cover the rows of value");

  const std::array<int64_t, 3> shape = {batch, queries, heads * channels};
  ort::Value* output = nullptr;
  void* data = nullptr;
  if (Status* status = api.output(context, 0, shape.data(), shape.size(), &output)) return status;
  if (Status* status = api.data(output, &data)) return status;
  const int64_t tasks_per_image = (queries + kQueriesPerTask - 1) / kQueriesPerTask;
  Task task = {{rows, queries, heads, channels, points, levels}, tasks_per_image, value.data, locations.data,
               weights.data, static_cast<float*>(data)};
  return api.parallel_for(context, run_task, static_cast<size_t>(batch * tasks_per_image), &task);
}

Status* create_kernel(const ort::CustomOp*, const void* table, const ort::KernelInfo* info, void** kernel) {
  const Api api(table);
  Levels levels = {};
  if (Status* status = read_attributes(api, info, &levels)) return status;
  *kernel = new Kernel{api, levels};
  return nullptr;
}

ort::CustomOp operator_description() {
  ort::CustomOp op = {};
  op.version = ort::kVersion;
  op.name = [](const ort::CustomOp*) { return "MultiScaleDeformableAttention"; };
  op.execution_provider = [](const ort::CustomOp*) { return static_cast<const char*>(nullptr); };  // the CPU's
  op.input_type = op.output_type = [](const ort::CustomOp*, size_t) { return ort::ElementType::kFloat; };
  op.input_count = [](const ort::CustomOp*) { return size_t{3}; };
  op.output_count = [](const ort::CustomOp*) { return size_t{1}; };
  op.input_characteristic = op.output_characteristic = [](const ort::CustomOp*, size_t) { return 0; };  // required
  op.input_memory = [](const ort::CustomOp*, size_t) { return 0; };                                     // default
  op.create_kernel_or_fail = create_kernel;
  op.compute_or_fail = compute;
  op.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.first_opset = [](const ort::CustomOp*) { return 1; };
  op.last_opset = [](const ort::CustomOp*) { return 1; };
  return op;
}

}  // namespace
}  // namespace hyperseg

// What SessionOptions.register_custom_ops_library looks for.
extern "C" __attribute__((visibility("default"))) hyperseg::ort::Status* RegisterCustomOps(
    hyperseg::ort::SessionOptions* options, const hyperseg::ort::ApiBase* base) {
  using namespace hyperseg;
  const void* table = base->get_api(ort::kVersion);
  if (table == nullptr)
    return ort::Api(base->get_api(1)).error(ort::ErrorCode::kFail, "needs ONNX Runtime 1.18 or later");
  const ort::Api api(table);
  static const ort::CustomOp op = operator_description();
  ort::Domain* domain = nullptr;  // lives as long as the process: sessions keep a pointer to it
  if (ort::Status* status = api.create_domain("hyperseg", &domain)) return status;
  if (ort::Status* status = api.add_to_domain(domain, &op)) return status;
  return api.add_domain(options, domain);
}
