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

// Of a block of pixels: condition and hidden halves, each high and low, sums of hidden, scale and shift, two paths.
long modulation_scratch_size(const Modulation &task) {
  return BLOCK * (5 * task.inputs + 2 * task.channels) + 2 * THRICE * task.inputs / BLOCK * 2;
}

// Up to BLOCK pixels of a line.
struct Pixels {
  long count;
  const Feature *features;
  const void *condition;
  Feature *result;
};

// usual: for the paper's numbers of channels, as constants.
template <bool exact, bool usual> struct ModulationStep {
  static constexpr Parts PARTS = exact ? THRICE : ONCE;
  const Modulation &m;
  const long inputs, channels;
  const float *scale, *shift; // packed
  Factor *condition, *hidden;
  float *sums, *scales, *shifts;
  Path first, second;

  ModulationStep(const Modulation &task, float *scratch)
      : m(task), inputs(usual ? BLOCK : task.inputs), channels(usual ? 2 * BLOCK : task.channels) {
    scale = m.packed + 2 * inputs + packed_blocks_size(inputs, 2 * inputs, PARTS);
    shift = scale + channels + packed_blocks_size(inputs, channels, PARTS);
    condition = reinterpret_cast<Factor *>(scratch), hidden = condition + BLOCK * 2 * inputs;
    sums = scratch + BLOCK * 3 * inputs, scales = sums + BLOCK * 2 * inputs, shifts = scales + BLOCK * channels;
    long *offsets = reinterpret_cast<long *>(shifts + BLOCK * channels);
    first = path_along(inputs, PARTS, inputs, offsets);
    second = path_along(inputs, PARTS, 2 * inputs, offsets + first.count);
  }

  // Whether the condition can be multiplied where it lies.
  bool in_place(const Pixels &pixels) const { return !exact && !m.floats && pixels.count == BLOCK; }

  // Otherwise it is taken, that of pixels from `start` to `stop`, or as many as there are.
  ALWAYS_INLINE void take(const Pixels &pixels, long start, long stop) const {
    if (in_place(pixels)) return;
    for (long row = start; row < stop && row < pixels.count; ++row)
      for (long k = 0; k < inputs; k += BLOCK) {
        Factor *to = condition + row * 2 * inputs + k;
        if (m.floats) {
          const Both values = load_both(static_cast<const float *>(pixels.condition) + row * inputs + k);
          store_halves(to, values.first, values.second, exact ? inputs : 0);
        } else {
          copy_both(to, static_cast<const Feature *>(pixels.condition) + row * inputs + k);
          if (exact) store_upper(to + inputs, Lanes{}, Lanes{});
        }
      }
  }

  // Scale and shift.
  template <typename First, typename Second>
  ALWAYS_INLINE void compute(const Pixels &pixels, const First &meanwhile_first, const Second &meanwhile_second) const {
    const bool there = in_place(pixels);
    multiply(there ? static_cast<const Factor *>(pixels.condition) : condition, there ? inputs : 2 * inputs, first,
             halves_of(m.packed + 2 * inputs), m.packed, 2 * inputs, sums, meanwhile_first);
    for (long k = 0; k < 2 * inputs; k += BLOCK)
      for (long row = 0; row < BLOCK; ++row) {
        const Both values = activated<LEAKY_RELU>(load_both(sums + row * 2 * inputs + k));
        store_halves(hidden + row * 4 * inputs + k, values.first, values.second, exact ? 2 * inputs : 0);
      }
    multiply(hidden, 4 * inputs, second, halves_of(scale + channels), scale, channels, scales, meanwhile_second);
    multiply(hidden + inputs, 4 * inputs, second, halves_of(shift + channels), shift, channels, shifts, [](long) {});
  }

  // The result of pixels from `start` to `stop`, or as many as there are.
  ALWAYS_INLINE void finish(const Pixels &pixels, long start, long stop) const {
    for (long at = start * channels; at < stop * channels && at < pixels.count * channels; at += BLOCK) {
      const Both value = load_both(pixels.features + at), by = load_both(scales + at), plus = load_both(shifts + at);
      store_halves(pixels.result + at, value.first * by.first + plus.first, value.second * by.second + plus.second, 0);
    }
  }

  static const Factor *halves_of(const float *packed) { return reinterpret_cast<const Factor *>(packed); }
};

// A part of the picture, and where its pixels go: to rows that are `pitch` values apart.
struct Part {
  long top, left, height, width;
  Feature *result;
  long pitch;

  long blocks() const { return height * in_blocks(width); }

  Pixels block(const Modulation &m, long index) const {
    const long y = index / in_blocks(width), x = index % in_blocks(width) * BLOCK;
    const long at = (top + y) * m.condition_pitch + (left + x) * m.inputs;
    const void *condition = m.floats ? static_cast<const void *>(static_cast<const float *>(m.condition) + at)
                                     : static_cast<const Feature *>(m.condition) + at;
    return {width - x < BLOCK ? width - x : BLOCK,
            m.features + (top + y) * m.features_pitch + (left + x) * m.channels, condition,
            result + y * pitch + x * m.channels};
  }
};

// A block's result is finished while what is hidden of the next one is made, and its condition is taken before that.
template <bool exact, bool usual> void modulate(const Modulation &m, const Part &part, float *scratch) {
  const ModulationStep<exact, usual> step(m, scratch);
  const long finished = share_of(2 * step.inputs / BLOCK * step.first.count);
  const long taken = share_of(step.channels / BLOCK * step.second.count);
  Pixels last{0, nullptr, nullptr, nullptr}, next = part.block(m, 0);
  step.take(next, 0, BLOCK);
  for (long block = 1; block <= part.blocks(); ++block) {
    const Pixels current = next;
    next = block < part.blocks() ? part.block(m, block) : Pixels{0, nullptr, nullptr, nullptr};
    step.compute(
        current, [&](long turn) { step.finish(last, turn * finished, (turn + 1) * finished); },
        [&](long turn) { step.take(next, turn * taken, (turn + 1) * taken); });
    last = current;
  }
  step.finish(last, 0, BLOCK);
}

void modulate(const Modulation &m, const Part &part, float *scratch) {
  if (m.inputs == BLOCK && m.channels == 2 * BLOCK)
    (m.exact ? modulate<true, true> : modulate<false, true>)(m, part, scratch);
  else
    (m.exact ? modulate<true, false> : modulate<false, false>)(m, part, scratch);
}

} // namespace
