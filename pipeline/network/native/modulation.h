// The spatial feature transform of a network's features: four 1x1 convolutions, a product and a sum in one go.
#pragma once

#include "layer.h"
#include "team.h"

namespace {

// result[pixel] = features[pixel] * scale(condition[pixel]) + shift(condition[pixel]), pixel by pixel. scale and shift
// are: inputs -> inputs, leaky ReLU with a slope of 0.1, inputs -> channels.
struct Modulation {
  const float *features, *condition;
  long height, width, channels, inputs;
  const float *packed; // by pack_modulation
  float *result;
  long features_pitch, condition_pitch; // floats from a row to the next
};

long packed_modulation_size(long channels, long inputs) {
  return packed_layer_size<Factor>(inputs, 1, 2 * inputs) + 2 * packed_layer_size<Factor>(inputs, 1, channels);
}

// (outputs, inputs) and (outputs) of scale1, scale2, shift1 and shift2. Packed: biases and matrix of scale1 and shift1
// side by side; then those of scale2; then those of shift2.
void pack_modulation(const float *const (&weights)[4], const float *const (&biases)[4], long channels, long inputs,
                     float *packed) {
  for (int index = 0; index < 4; index += 2)
    for (long n = 0; n < inputs; ++n) *packed++ = biases[index][n];
  packed = pack<Factor>(packed, inputs, 2 * inputs, [&](long k, long column) {
    return column < inputs ? weights[0][column * inputs + k] : weights[2][(column - inputs) * inputs + k];
  });
  for (int index = 1; index < 4; index += 2, packed += packed_layer_size<Factor>(inputs, 1, channels))
    pack_layer<Factor>(weights[index], biases[index], inputs, 1, channels, packed);
}

// result = features * (hidden * second of scale) + hidden * second of shift
struct SecondStep {
  const Factor *hidden;
  const float *features, *packed_scale, *packed_shift;
  long inputs, channels;
  float *result;

  template <int rows, int vectors> ALWAYS_INLINE void run(long row, long column) const {
    Lanes sums[rows][vectors];
    begin(sums, packed_scale + column);
    const Factor *left = hidden + row * 2 * inputs;
    multiply_add(left, 2 * inputs, panel(packed_scale, column), inputs, sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v)
        sums[r][v] = sums[r][v] * load(features + (row + r) * channels + column + v * LANES) +
                     load(packed_shift + column + v * LANES);
    }
    multiply_add(left + inputs, 2 * inputs, panel(packed_shift, column), inputs, sums);
    finish(sums, result + row * channels + column, channels);
  }

  ALWAYS_INLINE const Factor *panel(const float *packed, long column) const {
    return reinterpret_cast<const Factor *>(packed + channels) + column * inputs;
  }
};

long modulation_scratch_size(const Modulation &task) { return in_floats<Factor>(PIXELS * 3 * task.inputs); }

void compute_modulation(const Modulation &m, const Team &team) {
  const float *scale = m.packed + packed_layer_size<Factor>(m.inputs, 1, 2 * m.inputs);
  const float *shift = scale + packed_layer_size<Factor>(m.inputs, 1, m.channels);
  const Layer first{m.inputs, 2 * m.inputs, LEAKY_RELU, m.packed, nullptr};
  const long across = (m.width + PIXELS - 1) / PIXELS;
  share(m.height * across, team, [&](long item, float *scratch) {
    const long y = item / across, x = item % across * PIXELS, count = m.width - x < PIXELS ? m.width - x : PIXELS;
    Factor *hidden = reinterpret_cast<Factor *>(scratch), *spare = hidden + PIXELS * 2 * m.inputs;
    const Factor *condition =
        as_factors(m.condition + y * m.condition_pitch + x * m.inputs, count * m.inputs, spare);
    const float *features = m.features + y * m.features_pitch + x * m.channels;
    float *result = m.result + (y * m.width + x) * m.channels;
    in_registers(count, first.outputs, LayerStep<Factor>{condition, m.inputs, 1, 0, first, hidden});
    in_registers(count, m.channels, SecondStep{hidden, features, scale, shift, m.inputs, m.channels, result});
  });
}

} // namespace
