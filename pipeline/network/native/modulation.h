// The spatial feature transform of a network's features: four 1x1 convolutions, a product and a sum in one go.
#pragma once

#include "layer.h"

namespace {

template <typename Value> long packed_modulation_size(long channels, long inputs) {
  return packed_layer_size<Value>(inputs, 1, 2 * inputs) + 2 * packed_layer_size<Value>(inputs, 1, channels);
}

// (outputs, inputs) and (outputs) of scale1, scale2, shift1 and shift2. Packed: biases and matrix of scale1 and shift1
// side by side; then those of scale2; then those of shift2.
template <typename Value>
void pack_modulation(const float *const (&weights)[4], const float *const (&biases)[4], long channels, long inputs,
                     float *packed) {
  for (int index = 0; index < 4; index += 2)
    for (long n = 0; n < inputs; ++n) *packed++ = biases[index][n];
  packed = pack<Value>(packed, inputs, 2 * inputs, [&](long k, long column) {
    return column < inputs ? weights[0][column * inputs + k] : weights[2][(column - inputs) * inputs + k];
  });
  for (int index = 1; index < 4; index += 2, packed += packed_layer_size<Value>(inputs, 1, channels))
    pack_layer<Value>(weights[index], biases[index], inputs, 1, channels, packed);
}

// result = features * (hidden * second of scale) + hidden * second of shift
template <typename Value> struct SecondStep {
  const Value *hidden;
  const float *features, *packed_scale, *packed_shift;
  long inputs, channels;
  float *result;

  template <int rows, int vectors> ALWAYS_INLINE void run(long row, long column) const {
    Lanes sums[rows][vectors];
    begin(sums, packed_scale + column);
    const Value *left = hidden + row * 2 * inputs;
    multiply_add(left, 2 * inputs, panel(packed_scale, column), inputs, sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) {
        const long at = (row + r) * channels + column + v * LANES;
        sums[r][v] = sums[r][v] * load(features + at) + load(packed_shift + column + v * LANES);
      }
    }
    multiply_add(left + inputs, 2 * inputs, panel(packed_shift, column), inputs, sums);
    finish(sums, result + row * channels + column, channels);
  }

  ALWAYS_INLINE const Value *panel(const float *packed, long column) const {
    return reinterpret_cast<const Value *>(packed + channels) + column * inputs;
  }
};

long modulation_scratch_size(const Modulation &task) { return PIXELS * 3 * task.inputs; }

// `count` pixels of row y from x on, PIXELS at most.
template <typename Value>
void modulate_some(const Modulation &m, long y, long x, long count, float *result, float *scratch) {
  const float *scale = m.packed + packed_layer_size<Value>(m.inputs, 1, 2 * m.inputs);
  const float *shift = scale + packed_layer_size<Value>(m.inputs, 1, m.channels);
  const Layer first{m.inputs, 2 * m.inputs, LEAKY_RELU, m.packed, nullptr, 0};
  Value *hidden = reinterpret_cast<Value *>(scratch), *spare = hidden + PIXELS * 2 * m.inputs;
  const float *from = static_cast<const float *>(m.condition) + y * m.condition_pitch + x * m.inputs;
  const Value *condition = as_factors(from, count * m.inputs, spare);
  const float *features = m.features + y * m.features_pitch + x * m.channels;
  in_registers(count, first.outputs, LayerStep<Value>{condition, m.inputs, 1, 0, first, hidden});
  in_registers(count, m.channels, SecondStep<Value>{hidden, features, scale, shift, m.inputs, m.channels, result});
}

// Row y from `left` to `right`: (right - left, channels).
void modulate(const Modulation &m, long y, long left, long right, float *result, float *scratch) {
  const auto some = m.exact ? modulate_some<float> : modulate_some<Factor>;
  for (long x = left; x < right; x += PIXELS, result += PIXELS * m.channels)
    some(m, y, x, least_of(PIXELS, right - x), result, scratch);
}

long packed_modulation_size(long channels, long inputs, long exact) {
  return exact ? packed_modulation_size<float>(channels, inputs) : packed_modulation_size<Factor>(channels, inputs);
}

void pack_modulation(const float *const (&weights)[4], const float *const (&biases)[4], long channels, long inputs,
                     long exact, float *packed) {
  (exact ? pack_modulation<float> : pack_modulation<Factor>)(weights, biases, channels, inputs, packed);
}

} // namespace
