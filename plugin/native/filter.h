// The filter Reconstruct: its construction, its frames and its end.
#pragma once

#include <VapourSynth4.h>

namespace hdrunet {

// As VapourSynth wants it: what can be given, and what comes out.
extern const char *const kArguments;
extern const char *const kReturns;

void VS_CC create(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi);

} // namespace hdrunet
