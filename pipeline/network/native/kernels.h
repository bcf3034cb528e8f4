// The kernels as Python calls them (native.py): one library for each set of instructions, with the same names in all.
// Sizes of packed weights and scratch are in floats. Nothing of a standard library is included, as it would be compiled
// for these instructions too, and a linker may take that for the rest of a process.
#pragma once

#ifdef AMX
#include "amx_convolution.h"
#include "amx_narrow.h"
#else
#include "chain.h"
#include "narrow.h"
#include "winograd.h"
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

// As in native_structs.py: a library that was built before a struct or a function changed is not to be called.
EXPORT long hdrunet_interface() { return 5; }

// To be called once, before all else: 0 where the kernels can be used here.
EXPORT long hdrunet_prepare() {
#ifdef AMX
  return ask_for_tiles();
#else
  return 0;
#endif
}

// What a convolution's weights, (outputs, channels, side, side) and (outputs), are packed into.
#define PACKING(kind)                                                                                                  \
  EXPORT long hdrunet_packed_##kind(long channels, long side, long outputs) {                                          \
    return packed_##kind##_size(channels, side, outputs);                                                              \
  }                                                                                                                    \
  EXPORT void hdrunet_pack_##kind(const float *weight, const float *bias, long channels, long side, long outputs,     \
                                  float *packed) {                                                                     \
    pack_##kind(weight, bias, channels, side, outputs, packed);                                                        \
  }
PACKING(convolution)
PACKING(strided)
PACKING(layer)
PACKING(narrow)

EXPORT long hdrunet_packed_modulation(long channels, long inputs, long exact) {
  return packed_modulation_size(channels, inputs, exact);
}
EXPORT void hdrunet_pack_modulation(const float *const (*weights)[4], const float *const (*biases)[4], long channels,
                                    long inputs, long exact, float *packed) {
  pack_modulation(*weights, *biases, channels, inputs, exact, packed);
}

// What is computed, by a team whose threads have as much scratch each as is said, or more.
#define KERNEL(kind, Task)                                                                                             \
  EXPORT long hdrunet_##kind##_scratch(const Task *task) { return kind##_scratch_size(*task); }                        \
  EXPORT void hdrunet_##kind(const Task *task, const Team *team) { compute_##kind(*task, *team); }
KERNEL(convolution, Convolution)
KERNEL(chain, Chain)
KERNEL(narrow, Narrow)
