// What Python asks for (native_structs.py). Sizes and pitches are in values.
#pragma once

namespace {

// What lies between layers: floats, with AMX bfloat16. Pictures are floats.
#ifdef AMX
typedef unsigned short Feature;
#else
typedef float Feature;
#endif

inline long parts_of(long count, long most) { return (count + most - 1) / most; }
inline long least_of(long one, long other) { return one < other ? one : other; }

enum After : long { NOTHING, RELU, LEAKY_RELU };

// The spatial feature transform of a network's features, made where a convolution needs it:
// features[pixel] * scale(condition[pixel]) + shift(condition[pixel]), pixel by pixel. scale and shift
// are: inputs -> inputs, leaky ReLU with a slope of 0.1, inputs -> channels.
struct Modulation {
  const Feature *features;
  const void *condition; // features, or floats
  long channels, inputs;
  const float *packed;                  // by pack_modulation
  long features_pitch, condition_pitch; // from a row to the next
  long floats, exact; // 1 where the condition is of floats; where products are to be of floats, or as good
};

// (height, width, channels) -> (height, width, outputs), padded by zeros, 1x1 or 3x3; every other row and column of it
// where the stride is 2. (2 height, 2 width, outputs / 4) where it is `shuffled`: of 4 * C outputs, C lie at each of
// (0, 0), (0, 1), (1, 0), (1, 1), in this order. By Winograd's filtering it is 3x3.
struct Convolution {
  const Feature *input;
  long height, width, channels, outputs, side, stride;
  const float *packed;  // by pack_convolution or pack_strided
  const Feature *added; // to the result, of its shape; may be null
  Feature *result;
  long after, shuffled;          // one of After; 0 or 1
  long input_pitch, added_pitch; // from a row to the next
  const Modulation *modulation;  // of the input, which is not read then, where the stride is 1; may be null
};

struct Layer {
  long inputs, outputs, after;
  const float *packed; // by pack_layer, of what the step multiplies
  void *result;        // (pixels, outputs); null where only the next layer needs it
  long floats;         // 1 where the result is of floats, 0 where it is of features
};

// Convolutions that follow each other pixel by pixel: the first sees 1x1 or 3x3 samples of `channels` each, the others
// see one pixel.
struct Chain {
  const float *input; // (height + side - 1, width + side - 1, channels)
  long height, width, channels, side;
  const Layer *layers;
  long count;
};

// (height, width, channels) -> (height, width, 3), 1x1 or, padded by zeros, 3x3.
struct Narrow {
  const Feature *input;
  long height, width, channels, side;
  const float *packed;          // by pack_narrow
  const float *added, *factors; // to and of the result, of its shape; may be null
  float *result;
};

} // namespace
