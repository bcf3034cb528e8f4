// Convolutions that follow each other pixel by pixel: what lies between them never leaves the first cache. Of
// floats everywhere: bfloat16 would round a picture to fewer codes than it has, and the full-size condition to what is
// seen.
#pragma once

#include "layer.h"
#include "team.h"

namespace {

long chain_scratch_size(const Chain &chain) {
  long widest = 0;
  for (long index = 0; index < chain.count; ++index)
    if (chain.layers[index].outputs > widest) widest = chain.layers[index].outputs;
  return 2 * PIXELS * widest;
}

void compute_chain(const Chain &chain, const Team &team) {
  const long across = parts_of(chain.width, PIXELS), size = chain_scratch_size(chain);
  const long pitch = (chain.width + chain.side - 1) * chain.channels;
  share(chain.height * across, team, [&](long item, float *scratch, bool) {
    const long y = item / across, x = item % across * PIXELS;
    const long count = least_of(PIXELS, chain.width - x);
    const float *left = chain.input + y * pitch + x * chain.channels;
    long step = chain.channels, side = chain.side;
    for (long index = 0; index < chain.count; ++index) {
      const Layer &layer = chain.layers[index];
      float *spare = scratch + index % 2 * (size / 2);
      float *kept = static_cast<float *>(layer.result);
      float *result = kept ? kept + (y * chain.width + x) * layer.outputs : spare;
      in_registers(count, layer.outputs, LayerStep<float>{left, step, side, pitch, layer, result});
      left = result, step = layer.outputs, side = 1;
    }
  });
}

} // namespace
