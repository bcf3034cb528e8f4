// VapourSynth's maps as Python's dictionaries and back.
#pragma once

#include "python.h"

#include <VapourSynth4.h>

namespace hdrunet {

// All functions need the GIL, and return null or false with a Python error set.

// {name: [values]} of a function's arguments: int, float and str; clips are left out.
Object argumentsOf(const VSMap *map, const VSAPI *vsapi);

// {name: value} of a frame's properties: integers as they are (the first, of several); True for all else,
// because it may be large and only its presence matters.
Object propertiesOf(const VSMap *map, const VSAPI *vsapi);

// Sets what a dictionary says: int, float, str, or a list of floats.
bool setProperties(VSMap *map, PyObject *values, const VSAPI *vsapi);

// Removes the properties that a list names.
bool deleteProperties(VSMap *map, PyObject *names, const VSAPI *vsapi);

} // namespace hdrunet
