// A plane of a frame as a Python buffer, which numpy and torch read and write in place.
#pragma once

#include "python.h"

#include <VapourSynth4.h>

namespace hdrunet {

// (rows, columns) of bytes, 16-bit integers, half or single floats at `data`, with the frame's stride. The
// object owns a reference to the frame, so a view that Python keeps cannot dangle. Null with a Python error
// set. With the GIL.
Object newPlane(const VSFrame *frame, int index, const void *data, const VSAPI *vsapi);

} // namespace hdrunet
