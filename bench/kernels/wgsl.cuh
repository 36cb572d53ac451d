// What Solvay's WGSL needs to be CUDA C++: its types, operators and functions. See cuda.ts, which rewrites the rest.
#include <cuda_fp16.h>
#if __CUDA_ARCH__ >= 700
#include <mma.h>
#endif
typedef unsigned u32;
typedef int i32;
typedef float f32;
typedef __half f16;

template <class T> struct alignas(2 * sizeof(T)) vec2 {
  T x, y;
  vec2() = default;
  vec2(T x, T y) : x(x), y(y) {}
  T operator[](u32 i) const { return i == 0 ? x : y; }
  T &operator[](u32 i) { return (&x)[i]; }
};
template <class T> struct vec3 {
  T x, y, z;
  vec3() = default;
  vec3(T x, T y, T z) : x(x), y(y), z(z) {}
};
typedef vec3<u32> vec3u;

template <class T> struct alignas(4 * sizeof(T)) vec4 {
  T x, y, z, w;
  vec4() = default;
  explicit vec4(T s) : x(s), y(s), z(s), w(s) {}
  vec4(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}
  vec4(vec2<T> a, vec2<T> b) : x(a.x), y(a.y), z(b.x), w(b.y) {}
  vec4(vec2<T> a, T z, T w) : x(a.x), y(a.y), z(z), w(w) {}
  template <class U> explicit vec4(vec4<U> v) : x(T(v[0])), y(T(v[1])), z(T(v[2])), w(T(v[3])) {}
  T operator[](u32 i) const { return i == 0 ? x : i == 1 ? y : i == 2 ? z : w; }
  T &operator[](u32 i) { return (&x)[i]; }
};
// Pairs, as hardware computes with them.
template <> struct alignas(8) vec4<f16> {
  __half2 lo, hi;
  vec4() = default;
  explicit vec4(f16 s) : lo(__half2half2(s)), hi(__half2half2(s)) {}
  vec4(__half2 lo, __half2 hi) : lo(lo), hi(hi) {}
  vec4(f16 x, f16 y, f16 z, f16 w) : lo(__halves2half2(x, y)), hi(__halves2half2(z, w)) {}
  explicit vec4(vec4<f32> v) : lo(__floats2half2_rn(v.x, v.y)), hi(__floats2half2_rn(v.z, v.w)) {}
  f16 operator[](u32 i) const {
    const __half2 pair = i < 2 ? lo : hi;
    return i % 2 == 0 ? __low2half(pair) : __high2half(pair);
  }
};

#define OPERATOR(op)                                                                                              \
  template <class T> vec4<T> operator op(vec4<T> a, vec4<T> b) { return {a.x op b.x, a.y op b.y, a.z op b.z, a.w op b.w}; } \
  template <class T> vec4<T> operator op(vec4<T> a, T b) { return a op vec4<T>(b); }                               \
  template <class T> vec4<T> operator op(T a, vec4<T> b) { return vec4<T>(a) op b; }                               \
  template <class T> vec4<T> &operator op##=(vec4<T> &a, vec4<T> b) { return a = a op b; }                         \
  template <class T> vec4<T> &operator op##=(vec4<T> &a, T b) { return a = a op b; }
OPERATOR(+)
OPERATOR(-)
OPERATOR(*)
OPERATOR(/)
#define COMPARISON(op) \
  template <class T> vec4<bool> operator op(vec4<T> a, vec4<T> b) { return {a.x op b.x, a.y op b.y, a.z op b.z, a.w op b.w}; }
COMPARISON(<)
COMPARISON(<=)
inline vec4<bool> operator&(vec4<bool> a, vec4<bool> b) { return {a.x && b.x, a.y && b.y, a.z && b.z, a.w && b.w}; }
template <class T> vec4<T> operator-(vec4<T> a) { return {-a.x, -a.y, -a.z, -a.w}; }

#define FUNCTION1(name, expression)                                  \
  inline f32 name(f32 v, int) { return expression; }                 \
  inline vec4<f32> name(vec4<f32> a) { return {name(a.x, 0), name(a.y, 0), name(a.z, 0), name(a.w, 0)}; }
FUNCTION1(exp, __expf(v))
FUNCTION1(abs, fabsf(v))
FUNCTION1(sqrt, sqrtf(v))
template <class T> vec4<T> min(vec4<T> a, vec4<T> b) { return {min(a.x, b.x), min(a.y, b.y), min(a.z, b.z), min(a.w, b.w)}; }
template <class T> vec4<T> max(vec4<T> a, vec4<T> b) { return {max(a.x, b.x), max(a.y, b.y), max(a.z, b.z), max(a.w, b.w)}; }
inline vec4<f32> fma(vec4<f32> a, vec4<f32> b, vec4<f32> c) {
  return {fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), fmaf(a.z, b.z, c.z), fmaf(a.w, b.w, c.w)};
}
#if __CUDA_ARCH__ >= 600
inline vec4<f16> fma(vec4<f16> a, vec4<f16> b, vec4<f16> c) { return {__hfma2(a.lo, b.lo, c.lo), __hfma2(a.hi, b.hi, c.hi)}; }
#endif
template <class T> T select(T no, T yes, bool condition) { return condition ? yes : no; }
template <class T> vec4<T> select(vec4<T> no, vec4<T> yes, vec4<bool> c) {
  return {c.x ? yes.x : no.x, c.y ? yes.y : no.y, c.z ? yes.z : no.z, c.w ? yes.w : no.w};
}
template <class To, class From> To bitcast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bitcast");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}
inline vec2<f32> unpack2x16float(u32 pair) {
  const float2 f = __half22float2(bitcast<__half2>(pair));
  return {f.x, f.y};
}
inline void workgroupBarrier() { __syncthreads(); }
inline f32 subgroupShuffleXor(f32 v, u32 mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
inline vec4<f32> subgroupShuffleXor(vec4<f32> v, u32 mask) {
  return {subgroupShuffleXor(v.x, mask), subgroupShuffleXor(v.y, mask), subgroupShuffleXor(v.z, mask), subgroupShuffleXor(v.w, mask)};
}
inline vec3<f32> subgroupShuffleXor(vec3<f32> v, u32 mask) {
  return {subgroupShuffleXor(v.x, mask), subgroupShuffleXor(v.y, mask), subgroupShuffleXor(v.z, mask)};
}
