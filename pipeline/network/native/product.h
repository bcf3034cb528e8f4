// Few rows times a matrix, with the sums in registers: what all kernels here are made of.
//
// A matrix of `depth` x `columns` is packed in panels of a few vectors of columns: panel by panel, and in a panel row
// by row; of bfloat16 pair of rows by pair of rows, with the two of a column side by side.
#pragma once

#include "factors.h"

namespace {

#if LANES == 16
constexpr int ROWS = 6, VECTORS = 4; // 24 sums, 4 vectors of the matrix: of 32 registers
#else
constexpr int ROWS = 6, VECTORS = 2; // 12 sums, 2 vectors of the matrix: of 16 registers
#endif

// The widest panel that divides the columns, in vectors.
ALWAYS_INLINE int panel_of(long columns) {
  for (int vectors = VECTORS; vectors > 1; vectors /= 2)
    if (columns % (vectors * LANES) == 0) return vectors;
  return 1;
}

// sums[row] = values, of each row
template <int rows, int vectors> ALWAYS_INLINE void begin(Lanes (&sums)[rows][vectors], const float *values) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sums[r][v] = load(values + v * LANES);
  }
}

// to[row] = sums[row], in rows that are `pitch` values apart
template <int rows, int vectors, typename Value>
ALWAYS_INLINE void finish(const Lanes (&sums)[rows][vectors], Value *to, long pitch) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) store(to + r * pitch + v * LANES, sums[r][v]);
  }
}

// sums[row] += rows[row][0..depth] * panel
template <typename Value, int rows, int vectors>
ALWAYS_INLINE void multiply_add(const Value *left, long pitch, const Value *panel, long depth,
                                Lanes (&sums)[rows][vectors]) {
  constexpr long together = TOGETHER<Value>;
  for (long k = 0; k < depth; k += together) {
    decltype(load(panel)) right[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) right[v] = load(panel + (k * vectors + v * together) * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sums[r][v] = multiplied(sums[r][v], left + r * pitch + k, right[v]);
    }
  }
}

// From `row` on, `rows` at once as long as there are so many; returns the first that is left.
template <int rows, int vectors, typename Step>
ALWAYS_INLINE long in_panels_of(long row, long count, long columns, const Step &step) {
  for (; row + rows <= count; row += rows)
    for (long column = 0; column < columns; column += vectors * LANES) step.template run<rows, vectors>(row, column);
  return row;
}

template <int vectors, typename Step> ALWAYS_INLINE void in_panels(long count, long columns, const Step &step) {
  long row = in_panels_of<ROWS, vectors>(0, count, columns, step);
  row = in_panels_of<ROWS / 2, vectors>(row, count, columns, step);
  in_panels_of<1, vectors>(row, count, columns, step);
}

// step.template run<rows, vectors>(row, column) for all of a result of `count` rows and `columns` columns.
template <typename Step> ALWAYS_INLINE void in_registers(long count, long columns, const Step &step) {
  const int vectors = panel_of(columns);
  if (vectors == VECTORS)
    in_panels<VECTORS>(count, columns, step);
  else if (vectors == VECTORS / 2)
    in_panels<VECTORS / 2>(count, columns, step);
  else
    in_panels<1>(count, columns, step);
}

// A matrix of so many, in floats.
template <typename Value> constexpr long in_floats(long count) {
  return count * static_cast<long>(sizeof(Value)) / static_cast<long>(sizeof(float));
}

// matrix(k, column) of depth x columns, packed; returns the end.
template <typename Value, typename Matrix> float *pack(float *to, long depth, long columns, const Matrix &matrix) {
  Value *next = reinterpret_cast<Value *>(to);
  const long panel = panel_of(columns) * LANES;
  for (long first = 0; first < columns; first += panel)
    for (long k = 0; k < depth; k += TOGETHER<Value>)
      for (long column = first; column < first + panel; ++column)
        for (long row = k; row < k + TOGETHER<Value>; ++row) round_to(next++, matrix(row, column));
  return to + in_floats<Value>(depth * columns);
}

} // namespace
