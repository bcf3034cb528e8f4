// The spatial feature transform in AMX.
#pragma once

#include "amx_chain.h"

namespace {

Parts parts_of(long exact) { return exact ? THRICE : ONCE; }

long packed_modulation_size(long channels, long inputs, long exact) {
  return 2 * inputs + packed_blocks_size(inputs, 2 * inputs, parts_of(exact)) +
         2 * (channels + packed_blocks_size(inputs, channels, parts_of(exact)));
}

// (outputs, inputs) and (outputs) of scale1, scale2, shift1 and shift2. Packed: biases and matrix of scale1 and shift1
// side by side; then those of scale2; then those of shift2.
void pack_modulation(const float *const (&weights)[4], const float *const (&biases)[4], long channels, long inputs,
                     long exact, float *packed) {
  for (int index = 0; index < 4; index += 2)
    for (long n = 0; n < inputs; ++n) *packed++ = biases[index][n];
  packed = pack_blocks(packed, inputs, 2 * inputs, parts_of(exact), [&](long k, long column) {
    return weights[column / inputs * 2][column % inputs * inputs + k];
  });
  for (int index = 1; index < 4; index += 2) {
    for (long n = 0; n < channels; ++n) *packed++ = biases[index][n];
    packed = pack_blocks(packed, inputs, channels, parts_of(exact),
                         [&](long k, long column) { return weights[index][column * inputs + k]; });
  }
}

// Of a block of pixels: condition and hidden halves, each high and low, sums of hidden, scale and shift, a path.
long modulation_scratch_size(const Modulation &task) {
  return BLOCK * (5 * task.inputs + 2 * task.channels) + THRICE * task.inputs / BLOCK * 2;
}

template <bool exact> struct ModulationStep {
  static constexpr Parts PARTS = exact ? THRICE : ONCE;
  const Modulation &m;
  const long inputs, channels;
  const float *scale, *shift; // packed
  Factor *condition, *hidden;
  float *sums, *scales, *shifts;
  long *offsets;

  ModulationStep(const Modulation &task, float *scratch) : m(task), inputs(task.inputs), channels(task.channels) {
    scale = m.packed + 2 * inputs + packed_blocks_size(inputs, 2 * inputs, PARTS);
    shift = scale + channels + packed_blocks_size(inputs, channels, PARTS);
    condition = reinterpret_cast<Factor *>(scratch), hidden = condition + BLOCK * 2 * inputs;
    sums = scratch + BLOCK * 3 * inputs, scales = sums + BLOCK * 2 * inputs, shifts = scales + BLOCK * channels;
    offsets = reinterpret_cast<long *>(shifts + BLOCK * channels);
  }

  // Row `row` of a block: the condition `at` a pixel.
  ALWAYS_INLINE void take_condition(long row, long at) const {
    Factor *to = condition + row * 2 * inputs;
    for (long k = 0; k < inputs; k += BLOCK)
      if (m.floats) {
        const Both values = load_both(static_cast<const float *>(m.condition) + at + k);
        store_halves(to + k, values.first, values.second, exact ? inputs : 0);
      } else {
        copy_both(to + k, static_cast<const Feature *>(m.condition) + at + k);
        if (exact) store_upper(to + k + inputs, Lanes{}, Lanes{});
      }
  }

  // Of the condition of a block, scale and shift, but for their biases.
  template <typename First, typename Second>
  ALWAYS_INLINE void compute_block(const First &meanwhile_first, const Second &meanwhile_second) const {
    const Path first = path_along(inputs, PARTS, inputs, offsets);
    multiply(condition, 2 * inputs, first, halves_of(m.packed + 2 * inputs), 2 * inputs, sums, meanwhile_first);
    for (long k = 0; k < 2 * inputs; k += BLOCK) {
      const Both bias = load_both(m.packed + k);
      for (long row = 0; row < BLOCK; ++row) {
        const Both values = load_both(sums + row * 2 * inputs + k);
        store_halves(hidden + row * 4 * inputs + k, leaky(values.first + bias.first), leaky(values.second + bias.second),
                     exact ? 2 * inputs : 0);
      }
    }
    const Path second = path_along(inputs, PARTS, 2 * inputs, offsets);
    multiply(hidden, 4 * inputs, second, halves_of(scale + channels), channels, scales, meanwhile_second);
    multiply(hidden + inputs, 4 * inputs, second, halves_of(shift + channels), channels, shifts, [](long) {});
  }

  // Pixels of a block from `first` to `stop`, or as many as there are. features: how far those of each lie from the
  // first.
  ALWAYS_INLINE void finish(long first, long stop, long count, const long *features, Feature *result) const {
    for (long row = first; row < stop && row < count; ++row)
      for (long n = 0; n < channels; n += BLOCK) {
        const Both scale_bias = load_both(scale + n), shift_bias = load_both(shift + n);
        const Both value = load_both(m.features + features[row] + n);
        const Both by = load_both(scales + row * channels + n), plus = load_both(shifts + row * channels + n);
        store_halves(result + row * channels + n,
                     value.first * (by.first + scale_bias.first) + (plus.first + shift_bias.first),
                     value.second * (by.second + scale_bias.second) + (plus.second + shift_bias.second), 0);
      }
  }

  static const Factor *halves_of(const float *packed) { return reinterpret_cast<const Factor *>(packed); }
};

// A block's result is finished while what is hidden of the next one is made, and its condition is taken before that.
template <bool exact> void compute_modulation(const Modulation &m, const Team &team) {
  const long pixels = m.height * m.width, steps = (exact ? THRICE : ONCE) * m.inputs / BLOCK;
  const long finished = share_of(2 * m.inputs / BLOCK * steps), taken = share_of(m.channels / BLOCK * steps);
  share((pixels + PIXELS - 1) / PIXELS, team, [&](long item, float *scratch) {
    const Tiles tiles;
    const ModulationStep<exact> step(m, scratch);
    const long start = item * PIXELS, stop = pixels - start < PIXELS ? pixels : start + PIXELS;
    Cursor at(start, m.width);
    long features[2][BLOCK], turn = 0;
    const auto take = [&](long first, long end, long count) {
      for (long row = first; row < end && row < BLOCK && row < count; ++row, at.next()) {
        features[turn][row] = at.y * m.features_pitch + at.x * m.channels;
        step.take_condition(row, at.y * m.condition_pitch + at.x * m.inputs);
      }
    };
    const auto finish = [&](long first, long end, long count, long pixel) {
      step.finish(first, end, count, features[turn], m.result + pixel * m.channels);
    };
    take(0, BLOCK, stop - start);
    for (long pixel = start; pixel < stop; pixel += BLOCK) {
      turn = 1 - turn; // to the block before, and then to the one after
      step.compute_block(
          [&](long t) { finish(t * finished, (t + 1) * finished, pixel > start ? BLOCK : 0, pixel - BLOCK); },
          [&](long t) { take(t * taken, (t + 1) * taken, stop - pixel - BLOCK); });
    }
    turn = 1 - turn;
    const long last = start + (stop - start - 1) / BLOCK * BLOCK;
    finish(0, BLOCK, stop - last, last);
  });
}

void compute_modulation(const Modulation &m, const Team &team) {
  (m.exact ? compute_modulation<true> : compute_modulation<false>)(m, team);
}

} // namespace
