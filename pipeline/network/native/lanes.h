// Vectors of LANES floats: as wide as the registers of the instructions that a file is compiled for.
#pragma once

#define ALWAYS_INLINE inline __attribute__((always_inline))

namespace {

typedef float Lanes __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

ALWAYS_INLINE Lanes load(const float *from) { return *reinterpret_cast<const Lanes *>(from); }
ALWAYS_INLINE void store(float *to, Lanes value) { *reinterpret_cast<Lanes *>(to) = value; }

// What is not negative, and 0 or a tenth of what is. NaN stays NaN.
ALWAYS_INLINE Lanes rectified(Lanes value) { return value < Lanes{} ? Lanes{} : value; }
ALWAYS_INLINE Lanes leaky(Lanes value) { return value < Lanes{} ? value * 0.1f : value; }

} // namespace
