// What a block needs of the memory after its products, and the next block of its stripe before them: asked for a few
// lines of the cache at a time, while the processor multiplies and the memory would rest.
#pragma once

#include "stripes.h"

namespace {

class Ahead {
public:
  Ahead(const Stripes &stripes, long item) {
    const Convolution &c = stripes.convolution;
    const Stripes::Made made = stripes.made(item);
    const long spread = c.shuffled ? 2 : 1, depth = c.outputs / (spread * spread);
    for (long place = 0; place < spread * spread; ++place) {
      const long y = made.top * spread + place / 2, x = made.left * spread + place % 2;
      const auto outputs = [&](const float *first, long pitch) {
        add(first + y * pitch + x * depth, made.height, spread * pitch, made.width, spread * depth, depth);
      };
      if (c.added) outputs(c.added, c.added_pitch);
      outputs(c.result, stripes.result_pitch());
    }
    if ((item + 1) % stripes.blocks == 0) return;
    const Stripes::Seen now = stripes.seen(item), next = stripes.seen(item + 1);
    const auto samples = [&](const float *first, long pitch, long channels) {
      const float *from = first + now.bottom * pitch + next.left * channels;
      add(from, next.bottom - now.bottom, pitch, next.right - next.left, channels, channels);
    };
    if (const Modulation *m = c.modulation) {
      samples(m->features, m->features_pitch, m->channels);
      samples(static_cast<const float *>(m->condition), m->condition_pitch, m->inputs);
    } else {
      samples(c.input, c.input_pitch, c.channels);
    }
  }

  // In lines of the cache.
  long size() const { return total; }

  void fetch(long some) {
    while (some > 0 && index < count) {
      const long now = least_of(some, run);
      for (const float *end = next + now * LINE; next < end; next += LINE) prefetch_far(next);
      some -= now, run -= now;
      if (run == 0) go_on();
    }
  }

private:
  static constexpr long LINE = 16; // floats
  // Rows that are `pitch` floats apart, of columns that are `step` apart, of a run of lines each.
  struct Part {
    const float *first;
    long rows, pitch, columns, step, run;
  };

  void add(const float *first, long rows, long pitch, long columns, long step, long channels) {
    if (rows <= 0) return;
    const bool dense = step == channels;
    parts[count++] = {first, rows, pitch, dense ? 1 : columns, step, (dense ? columns * channels : channels) / LINE};
    total += rows * columns * channels / LINE;
    if (count == 1) begin();
  }

  void go_on() {
    const Part &part = parts[index];
    if (++column == part.columns) column = 0, ++row;
    if (row == part.rows) row = 0, ++index;
    if (index < count) begin();
  }

  void begin() {
    const Part &part = parts[index];
    next = part.first + row * part.pitch + column * part.step, run = part.run;
  }

  Part parts[10]; // added and result of four places, two kinds of samples
  long count = 0, total = 0, index = 0, row = 0, column = 0, run = 0;
  const float *next = nullptr;
};

} // namespace
