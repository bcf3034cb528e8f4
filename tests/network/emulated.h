// Instructions that the kernels use beyond AVX2, in C++: for processors without them, and for sanitizers, which do not
// see what the instructions read. To be included before a kernel (g++ -include).
#pragma once

#define EMULATED

#include <immintrin.h>

namespace emulated {

typedef unsigned short Half; // of a float: bfloat16
typedef Half Halves __attribute__((vector_size(64)));
typedef Half FewerHalves __attribute__((vector_size(32)));
typedef unsigned int Pairs __attribute__((vector_size(64)));
typedef float Row __attribute__((vector_size(64)));

inline float float_of(Half half) {
  const unsigned int bits = half * (1u << 16);
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline Half half_of(float value) {
  unsigned int bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return value != value ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline __m512i load(const void *from) {
  __m512i value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

inline void store(void *to, __m512i value) { __builtin_memcpy(to, &value, sizeof value); }

inline __m512 load_some(__m512 values, __mmask16 lanes, const float *from) {
  for (int lane = 0; lane < 16; ++lane)
    if (lanes >> lane & 1) values[lane] = from[lane];
  return values;
}

inline __m512i permuted(__m512i first, __m512i places, __m512i second) {
  Halves values;
  for (int lane = 0; lane < 32; ++lane) {
    const int place = ((Halves)places)[lane];
    values[lane] = ((Halves)(place & 32 ? second : first))[place % 32];
  }
  return (__m512i)values;
}

inline __m512 zeros() { return __m512{}; }

inline __m512i repeated(unsigned int value) { return (__m512i)(value + Pairs{}); }

inline __m256bh rounded(__m512 value) {
  FewerHalves halves;
  for (int lane = 0; lane < 16; ++lane) halves[lane] = half_of(value[lane]);
  return (__m256bh)halves;
}

inline __m512 multiplied(__m512 sum, __m512bh left, __m512bh right) {
  for (int lane = 0; lane < 32; ++lane)
    sum[lane / 2] += float_of(((Halves)left)[lane]) * float_of(((Halves)right)[lane]);
  return sum;
}

} // namespace emulated

#define _mm512_load_si512 emulated::load
#define _mm512_loadu_si512 emulated::load
#define _mm512_storeu_si512 emulated::store
#define _mm512_setzero_ps emulated::zeros
#define _mm512_set1_epi32 emulated::repeated
#define _mm512_mask_loadu_ps emulated::load_some
#define _mm512_permutex2var_epi16 emulated::permuted
#define _mm512_cvtneps_pbh emulated::rounded
#define _mm512_dpbf16_ps emulated::multiplied

// Of AMX what amx_tiles.h spells out.
inline long ask_for_tiles() { return 0; }

struct Tiles {
  Tiles() {}
};

inline thread_local emulated::Row tiles[32][2];

inline void begin_block(const float *bias) {
  for (auto &row : tiles) __builtin_memcpy(row, bias, sizeof row);
}

inline void add_to_block(const emulated::Half *left, long pitch, const emulated::Half *right) {
  emulated::Row matrix[32][2];
  for (int k = 0; k < 32; k += 2)
    for (int tile = 0; tile < 2; ++tile) {
      emulated::Pairs both;
      __builtin_memcpy(&both, right + tile * 512 + k * 16, sizeof both);
      matrix[k][tile] = (emulated::Row)(both << 16), matrix[k + 1][tile] = (emulated::Row)(both & 0xffff0000);
    }
  for (long row = 0; row < 32; ++row)
    for (int k = 0; k < 32; ++k) {
      const float factor = emulated::float_of(left[row * pitch + k]);
      for (int tile = 0; tile < 2; ++tile) tiles[row][tile] += factor * matrix[k][tile];
    }
}

inline void finish_block(float *to, long pitch) {
  for (long row = 0; row < 32; ++row) __builtin_memcpy(to + row * pitch, tiles[row], sizeof tiles[row]);
}
