// Convolutions that follow each other pixel by pixel: what lies between them never leaves the first cache.
#pragma once

#include "product.h"
#include "team.h"

namespace {

constexpr long PIXELS_AT_ONCE = 48;

enum After : long { NOTHING, RELU, LEAKY_RELU };

struct Layer {
  long inputs, outputs, after;
  const float *packed; // by pack_layer
  float *result;       // (pixels, outputs); null where only the next layer needs it
};

// The first layer sees 1x1 or 3x3 samples of `channels` each, the others see one pixel.
struct Chain {
  const float *input; // (height + side - 1, width + side - 1, channels)
  long height, width, channels, side;
  const Layer *layers;
  long count;
};

long packed_layer_size(long channels, long side, long outputs) {
  return outputs * (1 + channels * side * side);
}

// (outputs, channels, side, side) and (outputs). Packed: the bias, and the matrix with a row for each channel of each
// sample.
void pack_layer(const float *weight, const float *bias, long channels, long side, long outputs, float *packed) {
  for (long n = 0; n < outputs; ++n) *packed++ = bias[n];
  const long samples = side * side;
  pack(packed, channels * samples, outputs, [&](long k, long column) {
    return weight[(column * channels + k % channels) * samples + k / channels];
  });
}

// One layer at `count` pixels of a row. What it sees of a pixel is `side` pieces that are `pitch` floats apart; those
// of the next pixel lie `step` floats further.
struct LayerStep {
  const float *left;
  long step, side, pitch;
  const Layer &layer;
  float *result;

  template <int rows, int vectors> ALWAYS_INLINE void run(long row, long column) const {
    const long outputs = layer.outputs, piece = layer.inputs / side;
    Lanes sums[rows][vectors];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sums[r][v] = load(layer.packed + column + v * LANES);
    }
    const float *panel = layer.packed + outputs + column * layer.inputs;
    for (long i = 0; i < side; ++i)
      multiply_add(left + row * step + i * pitch, step, panel + i * piece * vectors * LANES, piece, sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) {
        Lanes value = sums[r][v];
        if (layer.after == RELU) value = rectified(value);
        if (layer.after == LEAKY_RELU) value = leaky(value);
        store(result + (row + r) * outputs + column + v * LANES, value);
      }
    }
  }
};

long chain_scratch_size(const Chain &chain) {
  long widest = 0;
  for (long index = 0; index < chain.count; ++index)
    if (chain.layers[index].outputs > widest) widest = chain.layers[index].outputs;
  return 2 * PIXELS_AT_ONCE * widest;
}

// scratch: chain_scratch_size floats for each thread.
void compute_chain(const Chain &chain, float *scratch, long threads, Parallel parallel) {
  const long across = (chain.width + PIXELS_AT_ONCE - 1) / PIXELS_AT_ONCE, size = chain_scratch_size(chain);
  const long pitch = (chain.width + chain.side - 1) * chain.channels;
  share(chain.height * across, threads, parallel, [&](long item, long worker) {
    const long y = item / across, x = item % across * PIXELS_AT_ONCE;
    const long count = chain.width - x < PIXELS_AT_ONCE ? chain.width - x : PIXELS_AT_ONCE;
    float *own = scratch + worker * size;
    const float *left = chain.input + y * pitch + x * chain.channels;
    long step = chain.channels, side = chain.side;
    for (long index = 0; index < chain.count; ++index) {
      const Layer &layer = chain.layers[index];
      float *spare = own + index % 2 * (size / 2);
      float *result = layer.result ? layer.result + (y * chain.width + x) * layer.outputs : spare;
      in_registers(count, layer.outputs, LayerStep{left, step, side, pitch, layer, result});
      left = result, step = layer.outputs, side = 1;
    }
  });
}

} // namespace
