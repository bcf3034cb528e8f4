// For processors with AMX and its products of bfloat16.
#define LANES 16
#define AMX
#include "kernels.h"
