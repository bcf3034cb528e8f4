// How what an item of work sees lies in scratch: lines of pixels, with zeros around the picture; where the stride is 2,
// first the even lines and then the odd ones. So the way from an output to the next is the same along a line and at its
// end, and one product makes as many outputs as it has rows, wherever lines end.
#pragma once

#include "amx_tiles.h"
#include "tasks.h"
#include "team.h"

namespace {

constexpr long WIDE = 62, HIGH = 16; // of an item of work, in outputs, at most: 3x3, they see two whole blocks

struct Area {
  const Feature *input;
  long height, width, channels, side, stride, input_pitch; // of the picture
  long down, across;                                       // outputs in all
  long tall, wide;                                         // outputs of an item, at most
  long rows, columns;                                      // items in all
  long lines, pitch;                                       // pixels of a line; lines of a kind

  Area(const Feature *input, long height, long width, long channels, long side, long stride, long input_pitch)
      : input(input), height(height), width(width), channels(channels), side(side), stride(stride),
        input_pitch(input_pitch) {
    down = parts_of(height, stride), across = parts_of(width, stride);
    rows = parts_of(down, HIGH), columns = parts_of(across, WIDE);
    tall = parts_of(down, rows), wide = parts_of(across, columns);
    rows = parts_of(down, tall), columns = parts_of(across, wide);
    lines = parts_of(stride * (tall - 1) + side, stride), pitch = parts_of(stride * (wide - 1) + side, stride) * stride;
  }

  // Pixels; products go on to whole blocks.
  long size() const { return stride * lines * pitch + stride * BLOCK + side; }
  long floats() const { return size() * channels / 2; }
  long line(long y) const { return (y % stride * lines + y / stride) * pitch; }

  // An item of work: its first output, and how many there are.
  struct Item {
    long top, left, height, width;
  };
  Item item(long index) const {
    const long top = index / columns * tall, left = index % columns * wide;
    return {top, left, least_of(tall, down - top), least_of(wide, across - left)};
  }

  // What an item sees of the picture: rows and columns, the first of them, and how far in the lines they lie.
  struct Seen {
    long top, left, height, width, above, before;
  };
  Seen seen(const Item &item) const {
    const long top = item.top * stride - side / 2, left = item.left * stride - side / 2;
    const long above = top < 0 ? -top : 0, before = left < 0 ? -left : 0;
    const long below = least_of(height - top, stride * lines);
    const long behind = least_of(width - left, pitch);
    return {top + above, left + before, below - above, behind - before, above, before};
  }

  // fill(y, to): row y of what is seen.
  template <typename Fill> void fill(const Seen &seen, Factor *to, const Fill &fill) const {
    for (long y = 0; y < stride * lines; ++y) {
      Factor *next = to + line(y) * channels;
      const bool inside = y >= seen.above && y < seen.above + seen.height;
      clear(next, (inside ? seen.before : pitch) * channels);
      if (!inside) continue;
      fill(y - seen.above, next + seen.before * channels);
      clear(next + (seen.before + seen.width) * channels, (pitch - seen.before - seen.width) * channels);
    }
  }

  void copy(const Item &item, Factor *to) const {
    const Seen part = seen(item);
    fill(part, to, [&](long y, Factor *next) {
      const Feature *from = input + (part.top + y) * input_pitch + part.left * channels;
      for (long k = 0; k < part.width * channels; k += BLOCK) copy_both(next + k, from + k);
    });
  }

  static void clear(Factor *to, long count) {
    for (long k = 0; k < count; k += BLOCK) store_upper(to + k, Lanes{}, Lanes{});
  }
};

// work(item, halves, scratch) of each: with room for what it sees, and the scratch behind that.
template <typename Work> void share_items(const Area &area, const Team &team, const Work &work) {
  share(area.rows * area.columns, team, [&](long index, float *scratch, bool) {
    const Tiles tiles;
    work(area.item(index), reinterpret_cast<Factor *>(scratch), scratch + area.floats());
  });
}

} // namespace
