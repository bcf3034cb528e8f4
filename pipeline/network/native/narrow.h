// Convolutions with so few outputs, R, G and B, that vectors lie along the inputs.
#pragma once

#include "lanes.h"
#include "tasks.h"
#include "team.h"

namespace {

constexpr int COLOURS = 3, NEIGHBOURS = 4; // 12 sums

long packed_narrow_size(long channels, long side, long) { return COLOURS * (1 + channels * side * side); }

// (3, channels, side, side) and (3). Packed: the bias; for each sample of the three the channels.
void pack_narrow(const float *weight, const float *bias, long channels, long side, long, float *packed) {
  for (int n = 0; n < COLOURS; ++n) *packed++ = bias[n];
  for (long sample = 0; sample < side * side; ++sample)
    for (int n = 0; n < COLOURS; ++n)
      for (long channel = 0; channel < channels; ++channel)
        *packed++ = weight[(n * channels + channel) * side * side + sample];
}

// Of floats in a register, half and half: one after the other each would wait for the one before.
template <int count> struct Sum {
  typedef float Values __attribute__((vector_size(count * 4)));
  typedef float Half __attribute__((vector_size(count * 2)));

  static ALWAYS_INLINE float of(Values values) {
    union {
      Values all;
      Half halves[2];
    } both = {values};
    return Sum<count / 2>::of(both.halves[0] + both.halves[1]);
  }
};
template <> struct Sum<2> {
  typedef float Values __attribute__((vector_size(8)));
  static ALWAYS_INLINE float of(Values values) { return values[0] + values[1]; }
};

template <int pixels> ALWAYS_INLINE void narrow_pixels(const Narrow &n, long y, long x) {
  static const Feature nothing[1024] = {};
  const long reach = n.side / 2;
  Lanes sums[pixels][COLOURS] = {};
  const float *weights = n.packed + COLOURS;
  for (long i = y - reach; i <= y + reach; ++i)
    for (long j = x - reach; j <= x + reach; ++j, weights += COLOURS * n.channels) {
      const Feature *samples[pixels];
#pragma GCC unroll 4
      for (int p = 0; p < pixels; ++p) {
        const bool inside = i >= 0 && i < n.height && j + p >= 0 && j + p < n.width;
        samples[p] = inside ? n.input + (i * n.width + j + p) * n.channels : nothing;
      }
      for (long channel = 0; channel < n.channels; channel += LANES) {
        Lanes right[COLOURS];
#pragma GCC unroll 4
        for (int c = 0; c < COLOURS; ++c) right[c] = load(weights + c * n.channels + channel);
#pragma GCC unroll 4
        for (int p = 0; p < pixels; ++p) {
          const Lanes left = load(samples[p] + channel);
#pragma GCC unroll 4
          for (int c = 0; c < COLOURS; ++c) sums[p][c] += left * right[c];
        }
      }
    }
#pragma GCC unroll 4
  for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 4
    for (int c = 0; c < COLOURS; ++c) {
      const long at = (y * n.width + x + p) * COLOURS + c;
      float value = Sum<LANES>::of(sums[p][c]) + n.packed[c];
      if (n.factors) value *= n.factors[at];
      if (n.added) value += n.added[at];
      n.result[at] = value;
    }
  }
}

long narrow_scratch_size(const Narrow &) { return 0; }

void compute_narrow(const Narrow &narrow, const Team &team) {
  share(narrow.height, team, [&](long y, float *, bool) {
    long x = 0;
    for (; x + NEIGHBOURS <= narrow.width; x += NEIGHBOURS) narrow_pixels<NEIGHBOURS>(narrow, y, x);
    for (; x < narrow.width; ++x) narrow_pixels<1>(narrow, y, x);
  });
}

} // namespace
