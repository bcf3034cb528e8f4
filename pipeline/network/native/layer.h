// One convolution at the pixels of a row: 1x1, or 3x3 of a few channels.
#pragma once

#include "product.h"
#include "tasks.h"

namespace {

constexpr long PIXELS = 48; // of an item of work, at most: what lies between its layers stays in the first cache

template <typename Value = float> long packed_layer_size(long channels, long side, long outputs) {
  return outputs + in_floats<Value>(channels * side * side * outputs);
}

// (outputs, channels, side, side) and (outputs). Packed: the bias, and the matrix with a row for each channel of each
// sample.
template <typename Value = float>
void pack_layer(const float *weight, const float *bias, long channels, long side, long outputs, float *packed) {
  for (long n = 0; n < outputs; ++n) *packed++ = bias[n];
  const long samples = side * side;
  pack<Value>(packed, channels * samples, outputs, [&](long k, long column) {
    return weight[(column * channels + k % channels) * samples + k / channels];
  });
}

// One layer at `count` pixels of a row. What it sees of a pixel is `side` pieces that are `pitch` values apart; those
// of the next pixel lie `step` values further.
template <typename Value> struct LayerStep {
  const Value *left;
  long step, side, pitch;
  const Layer &layer;
  Value *result;

  template <int rows, int vectors> ALWAYS_INLINE void run(long row, long column) const {
    const long outputs = layer.outputs, piece = layer.inputs / side;
    Lanes sums[rows][vectors];
    begin(sums, layer.packed + column);
    const Value *panel = reinterpret_cast<const Value *>(layer.packed + outputs) + column * layer.inputs;
    for (long i = 0; i < side; ++i)
      multiply_add(left + row * step + i * pitch, step, panel + i * piece * vectors * LANES, piece, sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) {
        if (layer.after == RELU) sums[r][v] = rectified(sums[r][v]);
        if (layer.after == LEAKY_RELU) sums[r][v] = leaky(sums[r][v]);
      }
    }
    finish(sums, result + row * outputs + column, outputs);
  }
};

} // namespace
