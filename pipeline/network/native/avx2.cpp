// For processors with AVX2 and FMA.
#define LANES 8
#include "kernels.h"
