// How a picture is cut into blocks of tiles: into stripes, and those from top to bottom, so that a thread has just seen
// most of what its next block sees.
#pragma once

#include "modulation.h"

namespace {

struct Stripes {
  const Convolution &convolution;
  long height, width;      // outputs in all, before any shuffle
  long step, down, across; // outputs of a tile's side; tiles in all
  long tall, wide;         // tiles of a block, at most
  long blocks, count;      // of a stripe, and in all

  // most: tiles of a block.
  Stripes(const Convolution &convolution, long step, long most) : convolution(convolution), step(step) {
    height = parts_of(convolution.height, convolution.stride), width = parts_of(convolution.width, convolution.stride);
    down = parts_of(height, step), across = parts_of(width, step);
    wide = parts_of(across, parts_of(across, most));
    if (most / wide * wide < most * 3 / 4) wide = most / 2; // two short rows of tiles in place of one
    tall = least_of(most / wide, down);
    blocks = parts_of(down, tall), count = blocks * parts_of(across, wide);
  }

  // A block: its first tile, and how many there are.
  struct Area {
    long top, left, tall, wide;
  };
  Area area(long item) const {
    const long top = item % blocks * tall, left = item / blocks * wide;
    return {top, left, least_of(tall, down - top), least_of(wide, across - left)};
  }

  // What a block sees of the picture: its lines and columns.
  struct Seen {
    long top, left, bottom, right;
  };
  Seen seen(long item) const {
    const Area a = area(item);
    const long scale = step * convolution.stride, beyond = 2 - convolution.stride;
    return {a.top ? scale * a.top - 1 : 0, a.left ? scale * a.left - 1 : 0,
            least_of(scale * (a.top + a.tall) + beyond, convolution.height),
            least_of(scale * (a.left + a.wide) + beyond, convolution.width)};
  }

  // What a block makes, in samples before any shuffle.
  struct Made {
    long top, left, height, width;
  };
  Made made(long item) const {
    const Area a = area(item);
    const long top = step * a.top, left = step * a.left;
    return {top, left, least_of(step * a.tall, height - top), least_of(step * a.wide, width - left)};
  }
  long result_pitch() const {
    return width * (convolution.shuffled ? convolution.outputs / 2 : convolution.outputs);
  }

  // Of what a modulation makes for a block, at most, where the stride is 1: lines, and floats of each.
  long lines() const { return step * tall + 2; }
  long pitch() const { return (step * wide + 2) * convolution.channels; }
  long floats() const { return convolution.modulation ? lines() * pitch() : 0; }
};

// Samples of a picture, or of what a modulation makes of a part of it: lines that take the place of others in turn.
struct Source {
  const float *first;      // line 0, from sample `left` on
  long left, pitch, lines; // lines: 0 where all are there

  const float *line(long y) const { return first + (lines ? y % lines : y) * pitch; }
};

// What the block sees, modulated. follows: whether the block before it was the last one that was made in these lines.
Source modulated(const Stripes &stripes, long item, bool follows, float *lines, float *scratch) {
  const Stripes::Seen seen = stripes.seen(item);
  const long there = follows && seen.top ? stripes.seen(item - 1).bottom : seen.top;
  for (long y = there; y < seen.bottom; ++y)
    modulate(*stripes.convolution.modulation, y, seen.left, seen.right,
             lines + y % stripes.lines() * stripes.pitch(), scratch);
  return {lines, seen.left, stripes.pitch(), stripes.lines()};
}

} // namespace
