// Convolutions with so few outputs, R, G and B, that AMX makes of each pixel what it adds to all outputs that see it;
// then these are added up.
#pragma once

#include "amx_area.h"

namespace {

constexpr long COLOURS = 3;

long packed_narrow_size(long channels, long side, long) {
  return BLOCK + packed_blocks_size(channels, COLOURS * side * side, TWICE);
}

// (3, channels, side, side) and (3). Packed: the bias, which the sample in the middle adds; a matrix with three columns
// for each sample.
void pack_narrow(const float *weight, const float *bias, long channels, long side, long, float *packed) {
  for (long n = 0; n < BLOCK; ++n) *packed++ = n / COLOURS == side * side / 2 ? bias[n % COLOURS] : 0.0f;
  pack_blocks(packed, channels, COLOURS * side * side, TWICE, [&](long k, long column) {
    return weight[(column % COLOURS * channels + k) * side * side + column / COLOURS];
  });
}

Area area_of(const Narrow &n) { return Area(n.input, n.height, n.width, n.channels, n.side, 1, n.width * n.channels); }

long whole_blocks(const Area &area) { return in_blocks(area.lines * area.pitch) * BLOCK; }

// The pixels and what each adds, three floats for each sample, and a path.
long narrow_scratch_size(const Narrow &task) {
  const Area area = area_of(task);
  return area.floats() + whole_blocks(area) * BLOCK + TWICE * task.channels / BLOCK * 2;
}

// One output: of what each pixel adds to the samples that see it, those of this one.
ALWAYS_INLINE void add_up(const Narrow &n, const float *parts, long pitch, long at) {
  typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
  Four sum = {};
  for (long i = 0; i < n.side; ++i)
    for (long j = 0; j < n.side; ++j)
      sum += *reinterpret_cast<const Four *>(parts + (i * pitch + j) * BLOCK + (i * n.side + j) * COLOURS);
  for (long c = 0; c < COLOURS; ++c) {
    float value = sum[c];
    if (n.factors) value *= n.factors[at + c];
    if (n.added) value += n.added[at + c];
    n.result[at + c] = value;
  }
}

void compute_narrow(const Narrow &n, const Team &team) {
  const Area area = area_of(n);
  share_items(area, team, [&](const Area::Item &item, Factor *halves, float *parts) {
    const Path path = path_along(n.channels, TWICE, 0, reinterpret_cast<long *>(parts + whole_blocks(area) * BLOCK));
    area.copy(item, halves);
    const Factor *matrix = reinterpret_cast<const Factor *>(n.packed + BLOCK);
    for (long pixel = 0; pixel < area.lines * area.pitch; pixel += BLOCK)
      multiply(halves + pixel * n.channels, n.channels, path, matrix, n.packed, BLOCK, parts + pixel * BLOCK,
               [](long) {});
    for (long y = 0; y < item.height; ++y)
      for (long x = 0; x < item.width; ++x)
        add_up(n, parts + (y * area.pitch + x) * BLOCK, area.pitch,
               ((item.top + y) * n.width + item.left + x) * COLOURS);
  });
}

} // namespace
