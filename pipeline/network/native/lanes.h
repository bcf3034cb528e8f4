// Vectors of LANES floats: as wide as the registers of the instructions that a file is compiled for.
#pragma once

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))

namespace {

typedef float Lanes __attribute__((vector_size(LANES * 4)));

// Where it lies among other floats. Variables are never of this type: clang aligns an array of such to 4 bytes only,
// but reads its elements as if they were aligned to all of theirs.
typedef Lanes Anywhere __attribute__((aligned(4), may_alias));

ALWAYS_INLINE Lanes load(const float *from) { return *reinterpret_cast<const Anywhere *>(from); }
ALWAYS_INLINE void store(float *to, Lanes value) { *reinterpret_cast<Anywhere *>(to) = value; }

// Of what is read or written later, into the second cache.
ALWAYS_INLINE void prefetch_far(const float *address) { __builtin_prefetch(address, 0, 2); }

// What is not negative, and 0 or a tenth of what is. NaN stays NaN.
ALWAYS_INLINE Lanes rectified(Lanes value) { return value < Lanes{} ? Lanes{} : value; }
ALWAYS_INLINE Lanes leaky(Lanes value) { return value < Lanes{} ? value * 0.1f : value; }

} // namespace
