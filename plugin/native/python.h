// What the plugin needs of Python, all of it from the limited API of 3.12.
//
// Only functions of libpython are named here and in the other files, never its data (Py_None, PyFloat_Type,
// PyExc_...): functions are bound lazily, so the library also loads into a host without Python, where
// VapourSynth can say what is missing instead of leaving the plugin out.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memory>
#include <string>

namespace hdrunet {

struct DropReference {
    void operator()(PyObject *object) const { Py_DecRef(object); }
};

// A reference that is owned. It must end while the GIL is held.
using Object = std::unique_ptr<PyObject, DropReference>;

// Holds the GIL; legal on any thread, with the GIL held or not.
class Gil {
  public:
    Gil() : state_(PyGILState_Ensure()) {}
    ~Gil() { PyGILState_Release(state_); }
    Gil(const Gil &) = delete;
    Gil &operator=(const Gil &) = delete;

  private:
    PyGILState_STATE state_;
};

// A frame's stay in Python. Python does not end while there is one, and none begins once Python is ending:
// a thread that asked for the GIL later than that would never wake up.
class Visit {
  public:
    Visit();
    ~Visit();
    Visit(const Visit &) = delete;
    Visit &operator=(const Visit &) = delete;
    bool welcome() const { return welcome_; }

  private:
    bool welcome_;
};

// True once the end of Python waits for visits; what fails then fails because of it.
bool pythonIsEnding();

// True where this process runs Python now.
bool pythonIsAlive();

// Once a process: keeps this library loaded and makes the end of Python wait for visits. With the GIL; false
// with a Python error set.
bool preparePython();

// hdrunet_video.plugin.bridge, or null with a Python error set.
Object importBridge();

// What went wrong, in words for the user; takes the Python error that is set. With the GIL.
std::string takeError();

} // namespace hdrunet
