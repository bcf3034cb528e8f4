// Floats as bfloat16 for AMX: rounded, or as the sum of two of them, which keeps 16 bits of each.
//
// By the bits: the processor's own instruction for it takes as long as four of these.
#pragma once

#include "lanes.h"
#include "tasks.h"

#include <immintrin.h>

namespace {

typedef unsigned short Factor; // the upper half of a float
typedef unsigned int Bits __attribute__((vector_size(LANES * 4)));

constexpr unsigned int HALF_A_STEP = 0x8000, UPPER = 0xffff0000;

ALWAYS_INLINE Lanes upper_of(Lanes value) { return (Lanes)((Bits)value & UPPER); }
ALWAYS_INLINE Lanes nearest(Lanes value) { return (Lanes)((Bits)value + HALF_A_STEP); }

// The upper halves of two vectors, one after the other.
ALWAYS_INLINE void store_upper(Factor *to, Lanes first, Lanes second) {
  alignas(64) static const Factor odd[2 * LANES] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                                    33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const __m512i places = _mm512_load_si512(odd);
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16((__m512i)first, places, (__m512i)second));
}

// Two vectors, rounded; or what is left of them where their lower halves are 0, and what that loses `apart` further.
ALWAYS_INLINE void store_halves(Factor *to, Lanes first, Lanes second, long apart) {
  if (!apart) return store_upper(to, nearest(first), nearest(second));
  store_upper(to, first, second);
  store_upper(to + apart, nearest(first - upper_of(first)), nearest(second - upper_of(second)));
}

ALWAYS_INLINE void copy_both(Factor *to, const Factor *from) { _mm512_storeu_si512(to, _mm512_loadu_si512(from)); }

// As floats.
ALWAYS_INLINE Lanes load(const Factor *from) {
  typedef Factor Halves __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
  return (Lanes)(__builtin_convertvector(*reinterpret_cast<const Halves *>(from), Bits) << 16);
}

// Two vectors of floats.
struct Both {
  Lanes first, second;
};

template <typename Value> ALWAYS_INLINE Both load_both(const Value *from) { return {load(from), load(from + LANES)}; }

template <long after> ALWAYS_INLINE Both activated(Both values) {
  if (after == RELU) return {rectified(values.first), rectified(values.second)};
  if (after == LEAKY_RELU) return {leaky(values.first), leaky(values.second)};
  return values;
}

inline Factor half_of(float value) {
  if (value != value) return 0x7fc0; // among them are such that would be 0, rounded
  Factor halves[2 * LANES];
  store_halves(halves, value - Lanes{}, Lanes{}, 0);
  return halves[0];
}

inline float float_of(Factor half) { return ((Lanes)(half * (1u << 16) + Bits{}))[0]; }

// What stays of a float in the first of the two bfloat16 that it is the sum of, and what is left for the second.
inline float kept_of(float value) { return upper_of(value - Lanes{})[0]; }
inline float lost_of(float value) { return value - kept_of(value); }

} // namespace
