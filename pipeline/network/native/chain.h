// Convolutions that follow each other pixel by pixel: what lies between them never leaves the first cache.
#pragma once

#include "layer.h"
#include "team.h"

namespace {

// The first layer sees 1x1 or 3x3 samples of `channels` each, the others see one pixel. Of floats everywhere: bfloat16
// would round a picture to fewer codes than it has, and the full-size condition to what is seen.
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
  return 2 * PIXELS * widest;
}

void compute_chain(const Chain &chain, const Team &team) {
  const long across = (chain.width + PIXELS - 1) / PIXELS, size = chain_scratch_size(chain);
  const long pitch = (chain.width + chain.side - 1) * chain.channels;
  share(chain.height * across, team, [&](long item, float *scratch) {
    const long y = item / across, x = item % across * PIXELS;
    const long count = chain.width - x < PIXELS ? chain.width - x : PIXELS;
    const float *left = chain.input + y * pitch + x * chain.channels;
    long step = chain.channels, side = chain.side;
    for (long index = 0; index < chain.count; ++index) {
      const Layer &layer = chain.layers[index];
      float *spare = scratch + index % 2 * (size / 2);
      float *result = layer.result ? layer.result + (y * chain.width + x) * layer.outputs : spare;
      in_registers(count, layer.outputs, LayerStep<float>{left, step, side, pitch, layer, result});
      left = result, step = layer.outputs, side = 1;
    }
  });
}

} // namespace
