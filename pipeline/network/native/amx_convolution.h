// Convolutions in AMX, of features as they are, or modulated.
#pragma once

#include "amx_area.h"
#include "amx_modulation.h"

namespace {

long packed_convolution_size(long channels, long side, long outputs) {
  return outputs + packed_blocks_size(channels * side * side, outputs, ONCE);
}

// weight: (outputs, channels, side, side); bias: (outputs). Packed: the bias, and the matrix with a row for each
// channel of each sample.
void pack_convolution(const float *weight, const float *bias, long channels, long side, long outputs, float *packed) {
  for (long n = 0; n < outputs; ++n) *packed++ = bias[n];
  pack_blocks(packed, channels * side * side, outputs, ONCE, [&](long k, long column) {
    return weight[(column * channels + k % channels) * side * side + k / channels];
  });
}

long packed_strided_size(long channels, long side, long outputs) {
  return packed_convolution_size(channels, side, outputs);
}
void pack_strided(const float *weight, const float *bias, long channels, long side, long outputs, float *packed) {
  pack_convolution(weight, bias, channels, side, outputs, packed);
}

Area area_of(const Convolution &c) {
  return Area(c.input, c.height, c.width, c.channels, c.side, c.stride, c.input_pitch);
}

long steps_of(const Convolution &c) { return c.side * c.side * c.channels / BLOCK; }

// What is seen; then the sums of two blocks and a path, after what a modulation takes there.
long convolution_scratch_size(const Convolution &task) {
  const long before = task.modulation ? modulation_scratch_size(*task.modulation) : 0;
  const long after = 2 * BLOCK * BLOCK + steps_of(task) * 2;
  return area_of(task).floats() + (before > after ? before : after);
}

// The sums of a block on their way to the result.
template <long after, bool adds> struct Finish {
  long count = 0; // outputs, BLOCK channels of each
  const float *sums = nullptr;
  long rows[BLOCK], added[BLOCK], result[BLOCK]; // of sums, and how far each output lies from the first
  const Feature *others = nullptr;
  Feature *to = nullptr;

  // Those from `first` to `stop`, or as many of them as there are.
  ALWAYS_INLINE void some(long first, long stop) const {
    for (long each = first; each < stop && each < count; ++each) {
      Both values = activated<after>(load_both(sums + rows[each] * BLOCK));
      if (adds) {
        const Both more = load_both(others + added[each]);
        values = {values.first + more.first, values.second + more.second};
      }
      store_halves(to + result[each], values.first, values.second, 0);
    }
  }
};

// A block's sums are finished while the next one's are made.
template <long after, bool adds>
void compute_item(const Convolution &c, const Area &area, const Area::Item &item, const Factor *halves, float *sums,
                  Path path) {
  const long spread = c.shuffled ? 2 : 1, depth = c.shuffled ? c.outputs / 4 : c.outputs; // of the result
  const long row = area.across * spread * depth, pitch = area.pitch / c.stride;
  const long step = c.stride * c.channels, share = share_of(path.count);
  const Feature *others = adds ? c.added + (item.top * c.added_pitch + item.left * depth) * spread : nullptr;
  Feature *result = c.result + (item.top * row + item.left * depth) * spread;
  Finish<after, adds> last, next;
  float *spare = sums + BLOCK * BLOCK;
  Cursor at(0, pitch);
  for (long block = 0; block < (item.height - 1) * pitch + item.width; block += BLOCK) {
    next.count = 0;
    for (long each = 0; each < BLOCK; ++each, at.next()) {
      if (at.x >= item.width || at.y >= item.height) continue;
      next.rows[next.count] = each;
      next.added[next.count] = (at.y * c.added_pitch + at.x * depth) * spread;
      next.result[next.count++] = (at.y * row + at.x * depth) * spread;
    }
    const Factor *matrix = reinterpret_cast<const Factor *>(c.packed + c.outputs);
    for (long first = 0; first < c.outputs; first += BLOCK, matrix += path.count * BLOCK * BLOCK) {
      const long place = first / depth, plane = first % depth;
      next.sums = sums;
      next.others = adds ? others + place / 2 * c.added_pitch + place % 2 * depth + plane : nullptr;
      next.to = result + place / 2 * row + place % 2 * depth + plane;
      multiply(halves + block * step, step, path, matrix, c.packed + first, BLOCK, sums,
               [&](long turn) { last.some(turn * share, (turn + 1) * share); });
      last = next;
      float *const made = sums;
      sums = spare, spare = made;
    }
  }
  last.some(0, BLOCK);
}

auto computing(const Convolution &c) {
  if (c.after == RELU) return c.added ? compute_item<RELU, true> : compute_item<RELU, false>;
  if (c.after == LEAKY_RELU) return c.added ? compute_item<LEAKY_RELU, true> : compute_item<LEAKY_RELU, false>;
  return c.added ? compute_item<NOTHING, true> : compute_item<NOTHING, false>;
}

void compute_convolution(const Convolution &c, const Team &team) {
  const Area area = area_of(c);
  const auto compute = computing(c);
  share_items(area, team, [&](const Area::Item &item, Factor *halves, float *sums) {
    if (c.modulation) {
      const Area::Seen seen = area.seen(item);
      area.fill(seen, halves, [](long, Factor *) {});
      Factor *first = halves + (seen.above * area.pitch + seen.before) * c.channels;
      const Part part{seen.top, seen.left, seen.height, seen.width, first, area.pitch * c.channels};
      modulate(*c.modulation, part, sums);
    } else {
      area.copy(item, halves);
    }
    long *offsets = reinterpret_cast<long *>(sums + 2 * BLOCK * BLOCK), *offset = offsets;
    for (long i = 0; i < c.side; ++i)
      for (long j = 0; j < c.side; ++j)
        for (long channel = 0; channel < c.channels; channel += BLOCK)
          *offset++ = (area.line(i) + j) * c.channels + channel;
    compute(c, area, item, halves, sums, {offsets, steps_of(c)});
  });
}

} // namespace
