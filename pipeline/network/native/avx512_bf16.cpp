// For processors with AVX-512 and its products of bfloat16.
#define LANES 16
#define BFLOAT16
#include "kernels.h"
