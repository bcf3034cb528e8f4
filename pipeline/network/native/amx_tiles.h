// Products in the registers of AMX, tiles of 16 rows: 16 floats += 32 bfloat16 * a matrix of 32 x 16 of them.
//
// The instructions are spelled out: what compilers offer for them differs in what it promises about memory.
#pragma once

#include "amx_halves.h"

extern "C" long syscall(long number, ...); // of <unistd.h>

namespace {

constexpr long TILE = 16, BLOCK = 2 * TILE; // rows and columns of a product, and halves in a row of a factor

#ifndef EMULATED // by tests/network/emulated.h

// Asks Linux for the registers, for all threads of this process: 0, or an error.
inline long ask_for_tiles() {
  const long ARCH_PRCTL = 158, REQUEST = 0x1023, TILE_DATA = 18; // <asm/unistd_64.h>, <asm/prctl.h>
  return syscall(ARCH_PRCTL, REQUEST, TILE_DATA);
}

// While it lives, this thread has the registers.
struct Tiles {
  Tiles() {
    struct alignas(64) Shape {
      unsigned char palette, first, unused[14];
      unsigned short bytes[16];
      unsigned char rows[16];
    };
    static const Shape shape{1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    asm volatile("ldtilecfg %0" ::"m"(shape));
  }
  Tiles(const Tiles &) = delete;
  ~Tiles() { asm volatile("tilerelease" ::: "memory"); }
};

// In tiles 0 to 3 the sums of BLOCK x BLOCK, which begin with the same BLOCK values in each row. All that was written
// before can be read then.
ALWAYS_INLINE void begin_block(const float *bias) {
  asm volatile("tileloadd (%0,%1), %%tmm0\n\t"
               "tileloadd 64(%0,%1), %%tmm1\n\t"
               "tileloadd (%0,%1), %%tmm2\n\t"
               "tileloadd 64(%0,%1), %%tmm3\n\t"
               :
               : "r"(bias), "r"(0L)
               : "memory");
}

// += BLOCK rows of BLOCK halves, `pitch` halves apart, * a packed BLOCK x BLOCK. There is more of the latter than the
// first cache holds, so it is not kept there. Compilers may move loads and stores past this: what is multiplied was
// written before begin_block.
ALWAYS_INLINE void add_to_block(const Factor *left, long pitch, const Factor *right) {
  asm volatile("tileloadd (%0,%2), %%tmm4\n\t"
               "tileloaddt1 (%3,%4), %%tmm6\n\t"
               "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
               "tileloadd (%1,%2), %%tmm5\n\t"
               "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\t"
               "tileloaddt1 1024(%3,%4), %%tmm7\n\t"
               "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
               "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t"
               :
               : "r"(left), "r"(left + TILE * pitch), "r"(pitch * 2), "r"(right), "r"(64L));
}

ALWAYS_INLINE void finish_block(float *to, long pitch) {
  asm volatile("tilestored %%tmm0, (%0,%2)\n\t"
               "tilestored %%tmm1, 64(%0,%2)\n\t"
               "tilestored %%tmm2, (%1,%2)\n\t"
               "tilestored %%tmm3, 64(%1,%2)\n\t"
               :
               : "r"(to), "r"(to + TILE * pitch), "r"(pitch * 4)
               : "memory");
}

#endif

// Which halves of a row meet which block of rows of a matrix: as many as `count`, in the order in which it is packed.
struct Path {
  const long *offsets;
  long count;
};

// to[BLOCK][columns] = bias + rows of left, `pitch` halves apart, * a packed matrix of path.count x columns / BLOCK
// blocks. meanwhile(turn) is called for as many turns as path.count * columns / BLOCK, as the processor does both at
// once. It may not write what is multiplied.
template <typename Meanwhile>
ALWAYS_INLINE void multiply(const Factor *left, long pitch, Path path, const Factor *matrix, const float *bias,
                            long columns, float *to, const Meanwhile &meanwhile) {
  long turn = 0;
  for (long column = 0; column < columns; column += BLOCK) {
    begin_block(bias + column);
    for (long step = 0; step < path.count; ++step, ++turn, matrix += BLOCK * BLOCK) {
      add_to_block(left + path.offsets[step], pitch, matrix);
      meanwhile(turn);
    }
    finish_block(to + column, columns);
  }
}

// Of how many products the product of two floats is made, where each is rounded, or the sum of two bfloat16:
// once: rounded * rounded
// twice: rounded * high + rounded * low
// thrice: high * high + low * high + high * low (as "bf16x3" elsewhere)
enum Parts : long { ONCE = 1, TWICE, THRICE };

ALWAYS_INLINE long in_blocks(long count) { return (count + BLOCK - 1) / BLOCK; }

inline long packed_blocks_size(long depth, long columns, Parts parts) {
  return parts * in_blocks(depth) * in_blocks(columns) * BLOCK * BLOCK / 2;
}

// The path along rows of `depth` halves, whose low ones, if any, are `apart` further; written to `offsets`.
inline Path path_along(long depth, Parts parts, long apart, long *offsets) {
  const long blocks = in_blocks(depth);
  for (long part = 0; part < parts; ++part)
    for (long block = 0; block < blocks; ++block)
      offsets[part * blocks + block] = block * BLOCK + (parts == THRICE && part == 1 ? apart : 0);
  return {offsets, parts * blocks};
}

// matrix(k, column) of depth x columns, filled up by zeros to whole blocks; returns the end.
template <typename Matrix> float *pack_blocks(float *to, long depth, long columns, Parts parts, const Matrix &matrix) {
  Factor *next = reinterpret_cast<Factor *>(to);
  for (long column = 0; column < columns; column += BLOCK)
    for (long part = 0; part < parts; ++part)
      for (long k = 0; k < depth; k += BLOCK)
        for (long tile = column; tile < column + BLOCK; tile += TILE)
          for (long row = k; row < k + BLOCK; row += 2)
            for (long n = tile; n < tile + TILE; ++n)
              for (long each = row; each < row + 2; ++each) {
                const float value = each < depth && n < columns ? matrix(each, n) : 0.0f;
                *next++ = half_of(parts == ONCE ? value : part == parts - 1 ? lost_of(value) : kept_of(value));
              }
  return reinterpret_cast<float *>(next);
}

// Of the rows of a block, in so many turns.
ALWAYS_INLINE long share_of(long turns) { return (BLOCK + turns - 1) / turns; }

// Pixels one after the other, row by row.
struct Cursor {
  long width, y, x;

  Cursor(long pixel, long width) : width(width), y(pixel / width), x(pixel % width) {}
  ALWAYS_INLINE void next() {
    if (++x == width) x = 0, ++y;
  }
};

} // namespace
