// 3x3 convolutions by the minimal filtering of Winograd, F(4x4, 3x3): 36 products for 4x4 results in place of 144.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (arXiv 1509.09308). The points are 0,
// +-1/sqrt(2), +-sqrt(2) and infinity, where the paper has 0, +-1, +-2: the largest rounding errors are a fifth.
#pragma once

#include "product.h"
#include "tasks.h"
#include "team.h"

namespace {

constexpr float NEAR = 0.70710678118654752f, FAR = 1.41421356237309505f; // NEAR * FAR = 1
constexpr int STEP = 4, SIDE = 6, PLACES = SIDE * SIDE;
constexpr long TILES = 24; // of a block: its 36 matrices, and those of the result, stay in the second cache
constexpr long CHUNK = 64; // output channels that are made at once
constexpr long SKEW = 16;  // between matrices: at powers of two they would share a few lines of the first cache

// Columns of B^T d: points 0, NEAR, -NEAR, FAR, -FAR, infinity.
ALWAYS_INLINE void filter_input(const Lanes (&d)[SIDE], Lanes (&out)[SIDE]) {
  const Lanes even1 = d[4] - FAR * FAR * d[2], odd1 = NEAR * d[3] - FAR * d[1];
  const Lanes even2 = d[4] - NEAR * NEAR * d[2], odd2 = FAR * d[3] - NEAR * d[1];
  out[0] = d[0] - 2.5f * d[2] + d[4];
  out[1] = even1 + odd1;
  out[2] = even1 - odd1;
  out[3] = even2 + odd2;
  out[4] = even2 - odd2;
  out[5] = d[1] - 2.5f * d[3] + d[5];
}

// Columns of A^T m.
ALWAYS_INLINE void filter_output(const Lanes (&m)[SIDE], Lanes (&out)[STEP]) {
  const Lanes sum1 = m[1] + m[2], difference1 = m[1] - m[2];
  const Lanes sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  out[0] = m[0] + sum1 + sum2;
  out[1] = NEAR * difference1 + FAR * difference2;
  out[2] = NEAR * NEAR * sum1 + FAR * FAR * sum2;
  out[3] = NEAR * NEAR * NEAR * difference1 + FAR * FAR * FAR * difference2 + m[5];
}

// G w: what filter_input and filter_output belong to.
void filter_weights(const double (&w)[3], double (&out)[SIDE]) {
  const double near = 0.70710678118654752440, far = 1.41421356237309504880;
  const double points[] = {near, -near, far, -far};
  out[0] = w[0];
  for (int index = 0; index < 4; ++index) {
    const double point = points[index], square = point * point, other = 2.5 - square;
    out[1 + index] = (w[0] + point * w[1] + square * w[2]) / (2 * square * (square - other));
  }
  out[5] = w[2];
}

long chunk_of(long outputs) { return outputs % CHUNK ? LANES : CHUNK; }

long packed_convolution_size(long channels, long, long outputs) {
  return outputs + in_floats<Factor>(PLACES * channels * outputs);
}

// weight: (outputs, channels, 3, 3); bias: (outputs). Packed: the bias; for each chunk of outputs 36 packed matrices.
void pack_convolution(const float *weight, const float *bias, long channels, long, long outputs, float *packed) {
  for (long n = 0; n < outputs; ++n) *packed++ = bias[n];
  const long chunk = chunk_of(outputs);
  for (long first = 0; first < outputs; first += chunk)
    for (int place = 0; place < PLACES; ++place)
      packed = pack<Factor>(packed, channels, chunk, [&](long channel, long column) {
        const float *kernel = weight + ((first + column) * channels + channel) * 9;
        double rows[3];
        for (int row = 0; row < 3; ++row) {
          double filtered[SIDE];
          filter_weights({kernel[3 * row], kernel[3 * row + 1], kernel[3 * row + 2]}, filtered);
          rows[row] = filtered[place % SIDE];
        }
        double filtered[SIDE];
        filter_weights(rows, filtered);
        return static_cast<float>(filtered[place / SIDE]);
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

// A block of tiles of one convolution.
struct Block {
  const Convolution &convolution;
  long across, first, count;
  Factor *inputs;
  float *products;

  long input_pitch() const { return TILES * convolution.channels + SKEW; }
  static long product_pitch() { return TILES * CHUNK + SKEW; }

  void filter_inputs() const {
    static const float nothing[1024] = {};
    const Convolution &c = convolution;
    const long next_tile = STEP * c.channels;
    for (long tile = 0; tile < count; ++tile) {
      const long top = (first + tile) / across * STEP - 1, left = (first + tile) % across * STEP - 1;
      const float *samples[SIDE][SIDE];
      for (int i = 0; i < SIDE; ++i)
        for (int j = 0; j < SIDE; ++j) {
          const long y = top + i, x = left + j;
          const bool inside = y >= 0 && y < c.height && x >= 0 && x < c.width;
          samples[i][j] = inside ? c.input + y * c.input_pitch + x * c.channels : nothing;
        }
      for (long channel = 0; channel < c.channels; channel += LANES) {
        Lanes rows[SIDE][SIDE];
#pragma GCC unroll 6
        for (int i = 0; i < SIDE; ++i) {
          Lanes d[SIDE];
#pragma GCC unroll 6
          for (int j = 0; j < SIDE; ++j) d[j] = load(samples[i][j] + channel);
#pragma GCC unroll 6
          for (int j = SIDE - STEP; j < SIDE; ++j) prefetch(samples[i][j] + channel + next_tile);
          filter_input(d, rows[i]);
        }
        Factor *to = inputs + tile * c.channels + channel;
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; ++j) {
          const Lanes d[SIDE] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]};
          Lanes column[SIDE];
          filter_input(d, column);
#pragma GCC unroll 6
          for (int i = 0; i < SIDE; ++i) store(to + (i * SIDE + j) * input_pitch(), column[i]);
        }
      }
    }
  }

  void multiply(long output, long chunk) const {
    const Convolution &c = convolution;
    const Factor *packed = reinterpret_cast<const Factor *>(c.packed + c.outputs) + output * PLACES * c.channels;
    for (int place = 0; place < PLACES; ++place) {
      const Products step{inputs + place * input_pitch(), packed + place * c.channels * chunk, c.channels, chunk,
                          products + place * product_pitch()};
      in_registers(count, chunk, step);
    }
  }

  void filter_products(long output, long chunk) const {
    const Convolution &c = convolution;
    const long spread = c.shuffled ? 2 : 1, depth = c.shuffled ? c.outputs / 4 : c.outputs;
    const long next_tile = STEP * spread * depth;
    for (long tile = 0; tile < count; ++tile) {
      const long top = (first + tile) / across * STEP, left = (first + tile) % across * STEP;
      for (long channel = 0; channel < chunk; channel += LANES) {
        const float *from = products + tile * chunk + channel;
        Lanes columns[STEP][SIDE];
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; ++j) {
          Lanes m[SIDE], column[STEP];
#pragma GCC unroll 6
          for (int i = 0; i < SIDE; ++i) m[i] = load(from + (i * SIDE + j) * product_pitch());
          filter_output(m, column);
#pragma GCC unroll 4
          for (int i = 0; i < STEP; ++i) columns[i][j] = column[i];
        }
        const Lanes bias = load(c.packed + output + channel);
        const long place = (output + channel) / depth, plane = (output + channel) % depth;
        for (int i = 0; i < STEP && top + i < c.height; ++i) {
          Lanes row[STEP];
          filter_output(columns[i], row);
          for (int j = 0; j < STEP && left + j < c.width; ++j) {
            const long y = (top + i) * spread + place / 2, x = (left + j) * spread + place % 2;
            Lanes value = row[j] + bias;
            if (c.after == RELU) value = rectified(value);
            if (c.added) {
              const float *from = c.added + y * c.added_pitch + x * depth + plane;
              value += load(from);
              prefetch(from + next_tile);
            }
            float *to = c.result + (y * c.width * spread + x) * depth + plane;
            store(to, value);
            prefetch(to + next_tile);
          }
        }
      }
    }
  }
};

long inputs_size(const Convolution &task) { return in_floats<Factor>(PLACES * (TILES * task.channels + SKEW)); }

long convolution_scratch_size(const Convolution &task) { return inputs_size(task) + PLACES * (TILES * CHUNK + SKEW); }

void compute_convolution(const Convolution &convolution, const Team &team) {
  const long across = (convolution.width + STEP - 1) / STEP, down = (convolution.height + STEP - 1) / STEP;
  const long tiles = across * down;
  share((tiles + TILES - 1) / TILES, team, [&](long item, float *scratch) {
    const long first = item * TILES, count = tiles - first < TILES ? tiles - first : TILES;
    Factor *inputs = reinterpret_cast<Factor *>(scratch);
    const Block block{convolution, across, first, count, inputs, scratch + inputs_size(convolution)};
    block.filter_inputs();
    const long chunk = chunk_of(convolution.outputs);
    for (long output = 0; output < convolution.outputs; output += chunk) {
      block.multiply(output, chunk);
      block.filter_products(output, chunk);
    }
  });
}

} // namespace
