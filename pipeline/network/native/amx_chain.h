// Convolutions that follow each other pixel by pixel, in AMX: each float is the sum of two bfloat16, as one would round
// a picture to fewer codes than it has, and the full-size condition to what is seen.
#pragma once

#include "amx_tiles.h"
#include "tasks.h"
#include "team.h"

namespace {

constexpr long PIXELS = 4 * BLOCK; // of an item of work

long packed_layer_size(long channels, long side, long outputs) {
  return outputs + packed_blocks_size(channels * side * side, outputs, THRICE);
}

// (outputs, channels, side, side) and (outputs). Packed: the bias, and the matrix with a row for each channel of each
// sample.
void pack_layer(const float *weight, const float *bias, long channels, long side, long outputs, float *packed) {
  const long samples = side * side;
  for (long n = 0; n < outputs; ++n) *packed++ = bias[n];
  pack_blocks(packed, channels * samples, outputs, THRICE, [&](long k, long column) {
    return weight[(column * channels + k % channels) * samples + k / channels];
  });
}

// The most that a layer sees of a pixel, or makes of it.
long widest_of(const Chain &chain) {
  long widest = 0;
  for (long index = 0; index < chain.count; ++index) {
    const Layer &layer = chain.layers[index];
    widest = layer.inputs > widest ? layer.inputs : widest;
    widest = layer.outputs > widest ? layer.outputs : widest;
  }
  return in_blocks(widest) * BLOCK;
}

// How the first layer's samples of a pixel come into a vector: these lanes lie there from `offset` on.
struct Gather {
  long offset, lanes;
};

// Of each vector as many as there are lines of samples.
long gathers_size(const Chain &chain) { return in_blocks(chain.layers[0].inputs) * 2 * chain.side; }

// Lines of channels * side floats that are `pitch` floats apart, one after the other, and zeros.
void plan_gathers(const Chain &chain, long pitch, Gather *gathers) {
  const long piece = chain.channels * chain.side;
  for (long first = 0; first < in_blocks(chain.layers[0].inputs) * BLOCK; first += LANES)
    for (long i = 0; i < chain.side; ++i) {
      long begin = i * piece - first, end = begin + piece;
      begin = begin < 0 ? 0 : begin > LANES ? LANES : begin, end = end < 0 ? 0 : end > LANES ? LANES : end;
      *gathers++ = {first + i * (pitch - piece), begin < end ? (1L << end) - (1L << begin) : 0};
    }
}

ALWAYS_INLINE Lanes gather(const float *from, long side, const Gather *gathers) {
  __m512 value = _mm512_setzero_ps();
  for (long i = 0; i < side; ++i)
    value = _mm512_mask_loadu_ps(value, static_cast<__mmask16>(gathers[i].lanes), from + gathers[i].offset);
  return (Lanes)value;
}

// Two buffers of PIXELS rows of high and low halves, the sums of a block, a path, how to gather.
long chain_scratch_size(const Chain &chain) {
  const long widest = widest_of(chain);
  return 2 * PIXELS * widest + BLOCK * widest + THRICE * widest / BLOCK * 2 + 4 * gathers_size(chain);
}

// The sums of a block of pixels: to the result from pixel `first` on, where there is one, and as high and low halves to
// the layer that follows, where there is one: a loop for each, as one for all took longer.
template <long after>
void finish(const Layer &layer, const float *sums, long first, long count, Factor *halves) {
  const long columns = layer.outputs;
  const bool kept = layer.result != nullptr;
  float *floats = kept && layer.floats ? static_cast<float *>(layer.result) + first * columns : nullptr;
  Feature *features = kept && !layer.floats ? static_cast<Feature *>(layer.result) + first * columns : nullptr;
  for (long n = 0; n < columns; n += BLOCK) {
    const auto values_of = [&](long each) { return activated<after>(load_both(sums + each * columns + n)); };
    for (long each = 0; floats && each < count; ++each) {
      const Both values = values_of(each);
      store(floats + each * columns + n, values.first), store(floats + each * columns + n + LANES, values.second);
    }
    for (long each = 0; features && each < count; ++each) {
      const Both values = values_of(each);
      store_halves(features + each * columns + n, values.first, values.second, 0);
    }
    for (long each = 0; halves && each < count; ++each) {
      const Both values = values_of(each);
      store_halves(halves + each * 2 * columns + n, values.first, values.second, columns);
    }
  }
}

// What the first layer sees of pixels from `first` on.
void gather_pixels(const Chain &chain, long first, long count, Gather *gathers, long depth, Factor *to) {
  const long line = (chain.width + chain.side - 1) * chain.channels, side = chain.side;
  plan_gathers(chain, line, gathers);
  Cursor at(first, chain.width);
  for (long pixel = 0; pixel < count; ++pixel, at.next(), to += 2 * depth) {
    const float *from = chain.input + at.y * line + at.x * chain.channels;
    const Gather *next = gathers;
    for (long k = 0; k < depth; k += BLOCK, next += 2 * side)
      store_halves(to + k, gather(from, side, next), gather(from, side, next + side), depth);
  }
}

void compute_chain(const Chain &chain, const Team &team) {
  const long pixels = chain.height * chain.width, widest = widest_of(chain);
  share(parts_of(pixels, PIXELS), team, [&](long item, float *scratch, bool) {
    const Tiles tiles;
    const long first = item * PIXELS, count = least_of(PIXELS, pixels - first);
    float *sums = scratch + 2 * PIXELS * widest;
    long *offsets = reinterpret_cast<long *>(sums + BLOCK * widest);
    Gather *gathers = reinterpret_cast<Gather *>(offsets + THRICE * widest / BLOCK);
    Factor *left = reinterpret_cast<Factor *>(scratch), *next = left + PIXELS * 2 * widest;
    long depth = in_blocks(chain.layers[0].inputs) * BLOCK;
    gather_pixels(chain, first, count, gathers, depth, left);
    for (long index = 0; index < chain.count; ++index) {
      const Layer &layer = chain.layers[index];
      const Path path = path_along(layer.inputs, THRICE, depth, offsets);
      const Factor *matrix = reinterpret_cast<const Factor *>(layer.packed + layer.outputs);
      const auto finish_block = layer.after == RELU         ? finish<RELU>
                                : layer.after == LEAKY_RELU ? finish<LEAKY_RELU>
                                                            : finish<NOTHING>;
      for (long pixel = 0; pixel < count; pixel += BLOCK) {
        multiply(left + pixel * 2 * depth, 2 * depth, path, matrix, layer.packed, layer.outputs, sums, [](long) {});
        finish_block(layer, sums, first + pixel, count - pixel < BLOCK ? count - pixel : BLOCK,
                     index + 1 < chain.count ? next + pixel * 2 * layer.outputs : nullptr);
      }
      depth = layer.outputs;
      Factor *spare = left;
      left = next, next = spare;
    }
  });
}

} // namespace
