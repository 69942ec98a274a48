// An operator for ONNX Runtime's CPU provider as a small class, see `description`; for hosts only.
#pragma once

#include <array>
#include <vector>

#include "device.h"
#include "ort_abi.h"

// One machine-code version per instruction set, chosen when the library is loaded.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define HYPERSEG_PER_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HYPERSEG_PER_CPU
#endif

namespace hyperseg::ort {

using Shape = std::vector<int64_t>;

struct Tensor {
  Shape shape;
  void* data = nullptr;

  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

template <class T>
constexpr ElementType kElementType = ElementType::kFloat;
template <>
constexpr ElementType kElementType<Half> = ElementType::kFloat16;

inline Status* read_input(const Api& api, const KernelContext* context, size_t index, Tensor* tensor) {
  const Value* value = nullptr;
  if (Status* status = api.input(context, index, &value)) return status;
  TensorInfo* info = nullptr;
  if (Status* status = api.tensor_info(value, &info)) return status;
  size_t rank = 0;
  Status* status = api.rank(info, &rank);
  tensor->shape.resize(rank);
  if (!status) status = api.shape(info, tensor->shape.data(), rank);
  api.release(info);
  if (status) return status;
  return api.data(const_cast<Value*>(value), &tensor->data);
}

template <size_t kCount>
inline Status* read_inputs(const Api& api, const KernelContext* context, std::array<Tensor, kCount>* tensors) {
  for (size_t index = 0; index < kCount; ++index)
    if (Status* status = read_input(api, context, index, &(*tensors)[index])) return status;
  return nullptr;
}

template <class T>
inline Status* make_output(const Api& api, KernelContext* context, size_t index, const Shape& shape, T** data) {
  Value* output = nullptr;
  if (Status* status = api.output(context, index, shape.data(), shape.size(), &output)) return status;
  return api.data(output, reinterpret_cast<void**>(data));
}

inline Status* read_ints(const Api& api, const KernelInfo* info, const char* name, std::vector<int64_t>* numbers) {
  size_t size = 0;
  if (Status* status = api.ints(info, name, nullptr, &size)) return status;
  numbers->resize(size);
  return api.ints(info, name, numbers->data(), &size);
}

// Calls task(i) for every i below `count` on the session's own threads.
template <class Task>
inline Status* parallel_for(const Api& api, const KernelContext* context, int64_t count, const Task& task) {
  const auto run = [](void* user, size_t index) { (*static_cast<const Task*>(user))(static_cast<int64_t>(index)); };
  return api.parallel_for(context, run, static_cast<size_t>(count), const_cast<Task*>(&task));
}

// What ONNX Runtime asks about `Kernel`, which has kName, kInputs and kOutputs (element types), a static
// `Status* create(const Api&, const KernelInfo*, Kernel**)` and `Status* compute(KernelContext*) const`.
template <class Kernel>
inline CustomOp description() {
  CustomOp op = {};
  op.version = kVersion;
  op.name = [](const CustomOp*) { return Kernel::kName; };
  op.execution_provider = [](const CustomOp*) { return static_cast<const char*>(nullptr); };  // the CPU's
  op.input_type = [](const CustomOp*, size_t index) { return Kernel::kInputs[index]; };
  op.output_type = [](const CustomOp*, size_t index) { return Kernel::kOutputs[index]; };
  op.input_count = [](const CustomOp*) { return Kernel::kInputs.size(); };
  op.output_count = [](const CustomOp*) { return Kernel::kOutputs.size(); };
  op.input_characteristic = op.output_characteristic = [](const CustomOp*, size_t) { return 0; };  // required
  op.input_memory = [](const CustomOp*, size_t) { return 0; };                                     // default
  op.create_kernel_or_fail = [](const CustomOp*, const void* table, const KernelInfo* info, void** kernel) {
    return Kernel::create(Api(table), info, reinterpret_cast<Kernel**>(kernel));
  };
  op.compute_or_fail = [](void* kernel, KernelContext* context) {
    return static_cast<const Kernel*>(kernel)->compute(context);
  };
  op.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.first_opset = [](const CustomOp*) { return 1; };
  op.last_opset = [](const CustomOp*) { return 1; };
  return op;
}

// Adds operators to a session's options, in our domain. They live as long as the process, as does the domain:
// sessions keep pointers to both.
inline Status* register_operators(SessionOptions* options, const ApiBase* base,
                                  const std::vector<const CustomOp*>& operators) {
  const void* table = base->get_api(kVersion);
  if (table == nullptr) return Api(base->get_api(1)).error(ErrorCode::kFail, "needs ONNX Runtime 1.18 or later");
  const Api api(table);
  Domain* domain = nullptr;
  if (Status* status = api.create_domain("hyperseg", &domain)) return status;
  for (const CustomOp* op : operators)
    if (Status* status = api.add_to_domain(domain, op)) return status;
  return api.add_domain(options, domain);
}

}  // namespace hyperseg::ort
