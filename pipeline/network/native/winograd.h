// 3x3 convolutions by the minimal filtering of Winograd: 36 products for 4x4 outputs in place of 144; of stride 2, 49
// for 3x3 in place of 81.
#pragma once

#include "ahead.h"
#include "filters.h"
#include "team.h"

namespace {

constexpr long TILES = 24; // of a block: its matrices, and those of the result, stay in the second cache
constexpr long CHUNK = 64; // output channels that are made at once
constexpr long SKEW = 16;  // between matrices: at powers of two they would share a few lines of the first cache

long chunk_of(long outputs) { return outputs % CHUNK ? LANES : CHUNK; }

template <long stride> constexpr long matrices_of() { return Filter<stride>::MATRICES * Filter<stride>::MATRICES; }

template <long stride> long packed_filters_size(long channels, long outputs) {
  return outputs + in_floats<Factor>(matrices_of<stride>() * channels * outputs);
}

// weight: (outputs, channels, 3, 3); bias: (outputs). Packed: the bias; for each chunk of outputs the packed matrices.
template <long stride>
void pack_filters(const float *weight, const float *bias, long channels, long outputs, float *packed) {
  constexpr int side = Filter<stride>::MATRICES;
  for (long n = 0; n < outputs; ++n) *packed++ = bias[n];
  const long chunk = chunk_of(outputs);
  for (long first = 0; first < outputs; first += chunk)
    for (int matrix = 0; matrix < matrices_of<stride>(); ++matrix)
      packed = pack<Factor>(packed, channels, chunk, [&](long channel, long column) {
        const float *kernel = weight + ((first + column) * channels + channel) * 9;
        double rows[3];
        for (int row = 0; row < 3; ++row) {
          double filtered[side];
          Filter<stride>::weights({kernel[3 * row], kernel[3 * row + 1], kernel[3 * row + 2]}, filtered);
          rows[row] = filtered[matrix % side];
        }
        double filtered[side];
        Filter<stride>::weights(rows, filtered);
        return static_cast<float>(filtered[matrix / side]);
      });
}

struct Products {
  const Factor *left, *packed;
  long depth, columns;
  float *result;

  template <int rows, int vectors> ALWAYS_INLINE void run(long row, long column) const {
    Lanes sums[rows][vectors] = {};
    multiply_add(left + row * depth, depth, packed + column * depth, depth, sums);
    finish(sums, result + row * columns + column, columns);
  }
};

// A block of tiles of one convolution. Its steps are functions of their own: all in one, a compiler runs out of
// registers.
template <long stride> struct Block {
  using Line = Filter<stride>;
  static constexpr int STEP = Line::STEP, SIDE = Line::SAMPLES, PLACES = SIDE * SIDE, LAST = Line::MATRICES - 1;
  const Convolution &c;
  const Stripes &stripes;
  const Stripes::Area area;
  const Source source;
  Factor *inputs;
  float *products;

  static long input_pitch(long channels) { return TILES * channels + SKEW; }
  static long product_pitch() { return TILES * CHUNK + SKEW; }
  static long inputs_size(long channels) { return in_floats<Factor>(PLACES * input_pitch(channels)); }
  static long size(long channels) { return inputs_size(channels) + PLACES * product_pitch(); }

  long top(long tile) const { return (area.top + tile / area.wide) * STEP; }
  long left(long tile) const { return (area.left + tile % area.wide) * STEP; }

  NOINLINE void filter_inputs() const {
    static const float nothing[1024] = {};
    const long pitch = input_pitch(c.channels);
    for (long tile = 0; tile < area.tall * area.wide; ++tile) {
      const float *samples[SIDE][SIDE];
      for (int i = 0; i < SIDE; ++i) {
        const long y = stride * top(tile) - 1 + i;
        const float *const line = y >= 0 && y < c.height ? source.line(y) : nullptr;
        for (int j = 0; j < SIDE; ++j) {
          const long x = stride * left(tile) - 1 + j;
          samples[i][j] = line && x >= 0 && x < c.width ? line + (x - source.left) * c.channels : nothing;
        }
      }
      for (long channel = 0; channel < c.channels; channel += LANES) {
        Lanes rows[SIDE][SIDE];
#pragma GCC unroll 8
        for (int i = 0; i < SIDE; ++i) {
          Lanes d[SIDE];
#pragma GCC unroll 8
          for (int j = 0; j < SIDE; ++j) d[j] = load(samples[i][j] + channel);
          Line::input(d, rows[i]);
        }
        Factor *to = inputs + tile * c.channels + channel;
#pragma GCC unroll 8
        for (int j = 0; j < SIDE; ++j) {
          Lanes d[SIDE], column[SIDE];
#pragma GCC unroll 8
          for (int i = 0; i < SIDE; ++i) d[i] = rows[i][j];
          Line::input(d, column);
#pragma GCC unroll 8
          for (int i = 0; i < SIDE; ++i) store(to + (i * SIDE + j) * pitch, column[i]);
        }
      }
    }
  }

  // some: lines of the cache that are asked for beside each matrix.
  NOINLINE void multiply(long output, long chunk, Ahead &ahead, long some) const {
    const Factor *packed = reinterpret_cast<const Factor *>(c.packed + c.outputs);
    packed += output * matrices_of<stride>() * c.channels;
    for (int i = 0; i < SIDE; ++i)
      for (int j = 0; j < SIDE; ++j) {
        const int place = i * SIDE + j, matrix = (i < LAST ? i : LAST) * (LAST + 1) + (j < LAST ? j : LAST);
        const Products step{inputs + place * input_pitch(c.channels), packed + matrix * c.channels * chunk, c.channels,
                            chunk, products + place * product_pitch()};
        in_registers(area.tall * area.wide, chunk, step);
        ahead.fetch(some);
      }
  }

  NOINLINE void filter_products(long output, long chunk) const {
    const long spread = c.shuffled ? 2 : 1, depth = c.shuffled ? c.outputs / 4 : c.outputs;
    const long height = stripes.height, width = stripes.width, pitch = stripes.result_pitch();
    for (long tile = 0; tile < area.tall * area.wide; ++tile) {
      const long top = this->top(tile), left = this->left(tile);
      for (long channel = 0; channel < chunk; channel += LANES) {
        const float *from = products + tile * chunk + channel;
        Lanes columns[STEP][SIDE];
#pragma GCC unroll 8
        for (int j = 0; j < SIDE; ++j) {
          Lanes m[SIDE], column[STEP];
#pragma GCC unroll 8
          for (int i = 0; i < SIDE; ++i) m[i] = load(from + (i * SIDE + j) * product_pitch());
          Line::output(m, column);
#pragma GCC unroll 8
          for (int i = 0; i < STEP; ++i) columns[i][j] = column[i];
        }
        const Lanes bias = load(c.packed + output + channel);
        const long place = (output + channel) / depth, plane = (output + channel) % depth;
        for (int i = 0; i < STEP && top + i < height; ++i) {
          Lanes row[STEP];
          Line::output(columns[i], row);
          for (int j = 0; j < STEP && left + j < width; ++j) {
            const long y = (top + i) * spread + place / 2, x = (left + j) * spread + place % 2;
            Lanes value = row[j] + bias;
            if (c.after == RELU) value = rectified(value);
            if (c.after == LEAKY_RELU) value = leaky(value);
            if (c.added) value += load(c.added + y * c.added_pitch + x * depth + plane);
            store(c.result + y * pitch + x * depth + plane, value);
          }
        }
      }
    }
  }
};

template <long stride> Stripes stripes_of(const Convolution &c) { return Stripes(c, Filter<stride>::STEP, TILES); }

template <long stride> long scratch_size(const Convolution &c) {
  const long steering = c.modulation ? modulation_scratch_size(*c.modulation) : 0;
  return Block<stride>::size(c.channels) + stripes_of<stride>(c).floats() + steering;
}

template <long stride> void compute(const Convolution &c, const Team &team) {
  const Stripes stripes = stripes_of<stride>(c);
  const long chunk = chunk_of(c.outputs);
  share(stripes.count, team, [&](long item, float *scratch, bool follows) {
    float *const products = scratch + Block<stride>::inputs_size(c.channels);
    float *const lines = scratch + Block<stride>::size(c.channels);
    const Source source = c.modulation ? modulated(stripes, item, follows, lines, lines + stripes.floats())
                                       : Source{c.input, 0, c.input_pitch, 0};
    const Block<stride> block{c, stripes, stripes.area(item), source, reinterpret_cast<Factor *>(scratch), products};
    Ahead ahead(stripes, item);
    const long some = ahead.size() / (Block<stride>::PLACES * c.outputs / chunk) + 1;
    block.filter_inputs();
    for (long output = 0; output < c.outputs; output += chunk) {
      block.multiply(output, chunk, ahead, some);
      block.filter_products(output, chunk);
    }
  });
}

long packed_convolution_size(long channels, long, long outputs) { return packed_filters_size<1>(channels, outputs); }
long packed_strided_size(long channels, long, long outputs) { return packed_filters_size<2>(channels, outputs); }

void pack_convolution(const float *weight, const float *bias, long channels, long, long outputs, float *packed) {
  pack_filters<1>(weight, bias, channels, outputs, packed);
}
void pack_strided(const float *weight, const float *bias, long channels, long, long outputs, float *packed) {
  pack_filters<2>(weight, bias, channels, outputs, packed);
}

long convolution_scratch_size(const Convolution &task) {
  return task.stride == 1 ? scratch_size<1>(task) : scratch_size<2>(task);
}

void compute_convolution(const Convolution &task, const Team &team) {
  (task.stride == 1 ? compute<1> : compute<2>)(task, team);
}

} // namespace
