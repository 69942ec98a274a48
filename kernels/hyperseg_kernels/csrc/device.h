// What the text of every kernel starts from, compiled by NVRTC, by nvcc and by a host compiler. Needs no other header
// on a GPU, so that NVRTC compiles it without an include path.
#pragma once

#ifdef __CUDACC__
#define HYPERSEG_INLINE __device__ __forceinline__
#define HYPERSEG_UNROLL _Pragma("unroll")
#define HYPERSEG_SIMD(PRAGMA)
#else
#include <cmath>
#include <cstring>
#define HYPERSEG_INLINE inline __attribute__((always_inline))
#define HYPERSEG_UNROLL
#define HYPERSEG_SIMD(PRAGMA) _Pragma(PRAGMA)
#endif

namespace hyperseg {

// 16-bit floats by their bits, so that no header of CUDA is needed.
struct Half {
  unsigned short bits;
};
struct BFloat16 {
  unsigned short bits;
};

template <class To, class From>
HYPERSEG_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "the bits are copied");
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

HYPERSEG_INLINE float to_float(float value) { return value; }
HYPERSEG_INLINE float to_float(BFloat16 value) { return bits_as<float>(static_cast<unsigned>(value.bits) << 16); }
HYPERSEG_INLINE void from_float(float value, float& result) { result = value; }
HYPERSEG_INLINE void from_float(float value, BFloat16& result) {  // to nearest, ties to even
  const unsigned bits = bits_as<unsigned>(value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  result.bits = static_cast<unsigned short>(nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#ifdef __CUDACC__
HYPERSEG_INLINE float to_float(Half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
HYPERSEG_INLINE void from_float(float value, Half& result) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
}
#elif defined(__FLT16_MANT_DIG__)
#define HYPERSEG_HOST_HALF  // GCC before 12 does not know the type
HYPERSEG_INLINE float to_float(Half value) { return static_cast<float>(bits_as<_Float16>(value)); }
HYPERSEG_INLINE void from_float(float value, Half& result) { result = bits_as<Half>(static_cast<_Float16>(value)); }
#endif

// What lane `lane` of the kLanes lanes around this one holds; all lanes of a warp have to ask. A host compiler has it where
// a test runs lanes in turn (tests/kernels/deformable_attention/warp.h).
#ifdef __CUDACC__
template <int kLanes, class Value>
HYPERSEG_INLINE Value shuffled(Value value, int lane) {
  return __shfl_sync(~0u, value, lane, kLanes);
}
#else
template <int kLanes, class Value>
Value shuffled(Value value, int lane);
#endif

}  // namespace hyperseg
