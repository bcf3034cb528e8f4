// The minimal filtering of Winograd: three taps along a line in fewer products, from transformed samples and taps.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (arXiv 1509.09308): out = A^T ((G w) *
// (B^T d)), for samples d and taps w; of a picture along its columns, and then along its rows.
#pragma once

#include "lanes.h"

namespace {

constexpr float NEAR = 0.70710678118654752f, FAR = 1.41421356237309505f; // NEAR * FAR = 1

template <long stride> struct Filter;

// F(4, 3): 6 products for 4 outputs in place of 12. The points are 0, +-1/sqrt(2), +-sqrt(2) and infinity, where the
// paper has 0, +-1, +-2: the largest rounding errors are a fifth.
template <> struct Filter<1> {
  static constexpr int STEP = 4, SAMPLES = 6, MATRICES = 6; // outputs; products, one for each sample; of taps

  // B^T d: points 0, NEAR, -NEAR, FAR, -FAR, infinity.
  static ALWAYS_INLINE void input(const Lanes (&d)[SAMPLES], Lanes (&out)[SAMPLES]) {
    const Lanes even1 = d[4] - FAR * FAR * d[2], odd1 = NEAR * d[3] - FAR * d[1];
    const Lanes even2 = d[4] - NEAR * NEAR * d[2], odd2 = FAR * d[3] - NEAR * d[1];
    out[0] = d[0] - 2.5f * d[2] + d[4];
    out[1] = even1 + odd1;
    out[2] = even1 - odd1;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[5] = d[1] - 2.5f * d[3] + d[5];
  }

  // A^T m
  static ALWAYS_INLINE void output(const Lanes (&m)[SAMPLES], Lanes (&out)[STEP]) {
    const Lanes sum1 = m[1] + m[2], difference1 = m[1] - m[2];
    const Lanes sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    out[0] = m[0] + sum1 + sum2;
    out[1] = NEAR * difference1 + FAR * difference2;
    out[2] = NEAR * NEAR * sum1 + FAR * FAR * sum2;
    out[3] = NEAR * NEAR * NEAR * difference1 + FAR * FAR * FAR * difference2 + m[5];
  }

  // G w
  static void weights(const double (&w)[3], double (&out)[MATRICES]) {
    const double near = 0.70710678118654752440, far = 1.41421356237309504880;
    const double points[] = {near, -near, far, -far};
    out[0] = w[0];
    for (int index = 0; index < 4; ++index) {
      const double point = points[index], square = point * point, other = 2.5 - square;
      out[1 + index] = (w[0] + point * w[1] + square * w[2]) / (2 * square * (square - other));
    }
    out[5] = w[2];
  }
};

// Every other output: 7 products for 3 in place of 9. Even samples see the two outer taps, by F(3, 2), whose points are
// 0, +-1 and infinity; odd samples see the inner tap alone.
template <> struct Filter<2> {
  static constexpr int STEP = 3, SAMPLES = 7, MATRICES = 5; // the last three products are of the same taps

  static ALWAYS_INLINE void input(const Lanes (&d)[SAMPLES], Lanes (&out)[SAMPLES]) {
    out[0] = d[0] - d[4];
    out[1] = d[4] + d[2];
    out[2] = d[4] - d[2];
    out[3] = d[6] - d[2];
    out[4] = d[1];
    out[5] = d[3];
    out[6] = d[5];
  }

  static ALWAYS_INLINE void output(const Lanes (&m)[SAMPLES], Lanes (&out)[STEP]) {
    const Lanes sum = m[1] + m[2];
    out[0] = m[0] + sum + m[4];
    out[1] = m[1] - m[2] + m[5];
    out[2] = m[3] + sum + m[6];
  }

  static void weights(const double (&w)[3], double (&out)[MATRICES]) {
    out[0] = w[0];
    out[1] = (w[0] + w[2]) / 2;
    out[2] = (w[0] - w[2]) / 2;
    out[3] = w[2];
    out[4] = w[1];
  }
};

} // namespace
