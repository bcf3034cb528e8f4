// What the next block of a stripe sees of the picture and this one does not: asked for a few lines of the cache at a
// time, while the processor multiplies and the memory would rest.
#pragma once

#include "stripes.h"

namespace {

class Ahead {
public:
  Ahead(const Stripes &stripes, long item) {
    if ((item + 1) % stripes.blocks == 0) return;
    const Stripes::Seen now = stripes.seen(item), next = stripes.seen(item + 1);
    const Convolution &c = stripes.convolution;
    if (const Modulation *m = c.modulation) {
      parts[0] = part(m->features, m->features_pitch, m->channels, now, next);
      parts[1] = part(static_cast<const float *>(m->condition), m->condition_pitch, m->inputs, now, next);
    } else {
      parts[0] = part(c.input, c.input_pitch, c.channels, now, next);
    }
  }

  // In lines of the cache.
  long size() const { return (parts[0].rows * parts[0].floats + parts[1].rows * parts[1].floats) / LINE; }

  void fetch(long lines) {
    for (; index < PARTS; ++index, row = 0)
      for (const Part &part = parts[index]; row < part.rows; ++row, at = 0)
        for (; at < part.floats; at += LINE, --lines) {
          if (lines == 0) return;
          prefetch_far(part.first + row * part.pitch + at);
        }
  }

private:
  static constexpr long LINE = 16, PARTS = 2; // floats
  struct Part {
    const float *first;
    long rows, floats, pitch;
  };

  static Part part(const float *picture, long pitch, long channels, Stripes::Seen now, Stripes::Seen next) {
    const float *first = picture + now.bottom * pitch + next.left * channels;
    return {first, next.bottom - now.bottom, (next.right - next.left) * channels, pitch};
  }

  Part parts[PARTS] = {};
  long index = 0, row = 0, at = 0;
};

} // namespace
