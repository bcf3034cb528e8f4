// Convolutions that follow each other pixel by pixel: what lies between them never leaves the first cache.
#pragma once

#include "layer.h"
#include "team.h"

namespace {

// The first layer sees 1x1 or 3x3 samples of `channels` floats each, the others see one pixel. The first multiplies
// floats, as it may see a picture, which bfloat16 would round to fewer codes than it has.
struct Chain {
  const float *input; // (height + side - 1, width + side - 1, channels)
  long height, width, channels, side;
  const Layer *layers;
  long count;
};

long chain_scratch_size(const Chain &chain) {
  long widest = 0;
  for (long index = 0; index < chain.count; ++index)
    if (chain.layers[index].outputs > widest) widest = chain.layers[index].outputs;
  return 2 * in_floats<Factor>(PIXELS * widest);
}

// See LayerStep. To `result`, or where that is null as factors to `spare`.
template <typename Value>
ALWAYS_INLINE void compute_layer(long count, const Value *left, long step, long side, long pitch, const Layer &layer,
                                 float *result, Factor *spare) {
  if (result)
    in_registers(count, layer.outputs, LayerStep<Value, float>{left, step, side, pitch, layer, result});
  else
    in_registers(count, layer.outputs, LayerStep<Value, Factor>{left, step, side, pitch, layer, spare});
}

void compute_chain(const Chain &chain, const Team &team) {
  const long across = (chain.width + PIXELS - 1) / PIXELS, size = chain_scratch_size(chain);
  const long pitch = (chain.width + chain.side - 1) * chain.channels;
  share(chain.height * across, team, [&](long item, float *scratch) {
    const long y = item / across, x = item % across * PIXELS;
    const long count = chain.width - x < PIXELS ? chain.width - x : PIXELS;
    const float *image = chain.input + y * pitch + x * chain.channels;
    const Factor *left = nullptr;
    for (long index = 0; index < chain.count; ++index) {
      const Layer &layer = chain.layers[index];
      Factor *spare = reinterpret_cast<Factor *>(scratch + index % 2 * (size / 2));
      float *result = layer.result ? layer.result + (y * chain.width + x) * layer.outputs : nullptr;
      if (index == 0)
        compute_layer(count, image, chain.channels, chain.side, pitch, layer, result, spare);
      else
        compute_layer(count, left, layer.inputs, 1, 0, layer, result, spare);
      left = result ? as_factors(result, count * layer.outputs, spare) : spare;
    }
  });
}

} // namespace
