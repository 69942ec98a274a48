// The part of ONNX Runtime's C interface that a custom operator needs, written down here because no package
// ships the header. The interface is append-only: a function keeps its place in the table for good, so the
// places below hold for every release that knows version 18 (ONNX Runtime 1.18) or later.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hyperseg::ort {

constexpr uint32_t kVersion = 18;

struct Status;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;
struct Domain;
struct SessionOptions;

struct ApiBase {
  const void* (*get_api)(uint32_t version);  // null when the version is unknown
  const char* (*get_version_string)();
};

enum class ElementType : int { kFloat = 1, kInt32 = 6, kBool = 9, kFloat16 = 10 };
enum class ErrorCode : int { kFail = 1, kInvalidArgument = 2 };

// What the library is asked about one operator. Order and types are those of OrtCustomOp at version 18.
struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const CustomOp*, const void* api, const KernelInfo*);
  const char* (*name)(const CustomOp*);
  const char* (*execution_provider)(const CustomOp*);
  ElementType (*input_type)(const CustomOp*, size_t);
  size_t (*input_count)(const CustomOp*);
  ElementType (*output_type)(const CustomOp*, size_t);
  size_t (*output_count)(const CustomOp*);
  void (*compute)(void* kernel, KernelContext*);
  void (*destroy)(void* kernel);
  int (*input_characteristic)(const CustomOp*, size_t);
  int (*output_characteristic)(const CustomOp*, size_t);
  int (*input_memory)(const CustomOp*, size_t);
  int (*variadic_input_min)(const CustomOp*);
  int (*variadic_input_homogeneous)(const CustomOp*);
  int (*variadic_output_min)(const CustomOp*);
  int (*variadic_output_homogeneous)(const CustomOp*);
  Status* (*create_kernel_or_fail)(const CustomOp*, const void* api, const KernelInfo*, void** kernel);
  Status* (*compute_or_fail)(void* kernel, KernelContext*);
  Status* (*infer_shapes)(const CustomOp*, void*);
  int (*first_opset)(const CustomOp*);
  int (*last_opset)(const CustomOp*);
  size_t (*may_inplace)(int**, int**);
  void (*release_may_inplace)(int*, int*);
  size_t (*aliases)(int**, int**);
  void (*release_aliases)(int*, int*);
};

// OrtApi: functions by their place in the table.
class Api {
 public:
  explicit Api(const void* table) : table_(static_cast<void* const*>(table)) {}

  Status* error(ErrorCode code, const char* message) const { return call<0, Status*>(code, message); }
  Status* create_domain(const char* name, Domain** out) const { return call<26, Status*>(name, out); }
  Status* add_to_domain(Domain* domain, const CustomOp* op) const { return call<27, Status*>(domain, op); }
  Status* add_domain(SessionOptions* options, Domain* domain) const { return call<28, Status*>(options, domain); }
  Status* data(Value* value, void** out) const { return call<51, Status*>(value, out); }
  Status* rank(const TensorInfo* info, size_t* out) const { return call<61, Status*>(info, out); }
  Status* shape(const TensorInfo* info, int64_t* out, size_t rank) const { return call<62, Status*>(info, out, rank); }
  Status* tensor_info(const Value* value, TensorInfo** out) const { return call<65, Status*>(value, out); }
  Status* input(const KernelContext* context, size_t index, const Value** out) const {
    return call<90, Status*>(context, index, out);
  }
  Status* output(KernelContext* context, size_t index, const int64_t* shape, size_t rank, Value** out) const {
    return call<91, Status*>(context, index, shape, rank, out);
  }
  void release(Status* status) const { call<93, void>(status); }
  void release(TensorInfo* info) const { call<99, void>(info); }
  // With `out` null: only the size.
  Status* ints(const KernelInfo* info, const char* name, int64_t* out, size_t* size) const {
    return call<163, Status*>(info, name, out, size);
  }
  // Calls task(user, i) for every i below `count` on the session's own threads.
  Status* parallel_for(const KernelContext* context, void (*task)(void*, size_t), size_t count, void* user) const {
    return call<274, Status*>(context, task, count, size_t{0}, user);
  }

 private:
  template <int kPlace, class Result, class... Arguments>
  Result call(Arguments... arguments) const {
    return reinterpret_cast<Result (*)(Arguments...)>(table_[kPlace])(arguments...);
  }

  void* const* table_;
};

}  // namespace hyperseg::ort
