// What most products multiply: floats, or where a processor has instructions for it bfloat16, two by two. Sums are
// floats.
#pragma once

#include "lanes.h"

#ifdef BFLOAT16
#include <immintrin.h>
#endif

namespace {

// Rows of a matrix that one instruction takes.
template <typename Value> constexpr long TOGETHER = 1;

ALWAYS_INLINE Lanes multiplied(Lanes sum, const float *left, Lanes right) { return sum + *left * right; }

inline void round_to(float *to, float value) { *to = value; }

// `count` floats as what is multiplied, in `spare` where they are not already.
ALWAYS_INLINE const float *as_factors(const float *values, long, float *) { return values; }

#ifdef BFLOAT16

typedef unsigned short Factor; // the upper half of a float

template <> constexpr long TOGETHER<Factor> = 2;

typedef Factor Halves __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef int Pair __attribute__((aligned(2), may_alias));

ALWAYS_INLINE __m512i load(const Factor *from) { return _mm512_loadu_si512(from); }
ALWAYS_INLINE void store(Factor *to, Lanes value) {
  *reinterpret_cast<Halves *>(to) = (Halves)_mm512_cvtneps_pbh(value);
}

// What is less than the least normal float counts as 0 here, before and after.
ALWAYS_INLINE Lanes multiplied(Lanes sum, const Factor *left, __m512i right) {
  const __m512i both = _mm512_set1_epi32(*reinterpret_cast<const Pair *>(left));
  return _mm512_dpbf16_ps(sum, (__m512bh)both, (__m512bh)right);
}

inline void round_to(Factor *to, float value) {
  Factor lanes[LANES];
  store(lanes, value - Lanes{});
  *to = lanes[0];
}

ALWAYS_INLINE const Factor *as_factors(const float *values, long count, Factor *spare) {
  for (long index = 0; index < count; index += LANES) store(spare + index, load(values + index));
  return spare;
}

#else

typedef float Factor;

#endif

} // namespace
