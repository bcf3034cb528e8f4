#include "python.h"

#include <atomic>
#include <chrono>
#include <thread>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace hdrunet {

namespace {

const char *const kBridge = "hdrunet_video.plugin.bridge";

std::atomic<bool> closing{false};
std::atomic<int> visits{0};

PyObject *waitForVisits(PyObject *, PyObject *) {
    closing = true;
    {
        Object bridge = importBridge(); // imported long ago
        Object refused(bridge ? PyObject_CallMethod(bridge.get(), "refuse", nullptr) : nullptr);
        PyErr_Clear(); // waiting for all frames is slow, not wrong
    }
    PyThreadState *state = PyEval_SaveThread();
    while (visits.load() > 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    PyEval_RestoreThread(state);
    return Py_BuildValue("");
}

PyMethodDef atExit = {"hdrunet_wait_for_frames", waitForVisits, METH_NOARGS, nullptr};

// A core unloads its plugins when it is freed: at exit, and in editors whenever a script is run again. Python
// goes on holding our type and our exit function, so the code has to stay.
void stayLoaded() {
#ifdef _WIN32
    HMODULE module;
    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                       reinterpret_cast<LPCWSTR>(&stayLoaded), &module);
#else
    Dl_info found;
    if (dladdr(reinterpret_cast<void *>(&stayLoaded), &found) && found.dli_fname)
        dlopen(found.dli_fname, RTLD_LAZY | RTLD_NODELETE); // the handle is kept on purpose
#endif
}

std::string text(PyObject *object) {
    const char *utf8 = object ? PyUnicode_AsUTF8AndSize(object, nullptr) : nullptr;
    return utf8 ? utf8 : "";
}

} // namespace

bool pythonIsEnding() { return closing; }

bool pythonIsAlive() {
#ifdef _WIN32
    return Py_IsInitialized();
#else
    static const bool linked = dlsym(RTLD_DEFAULT, "PyGILState_Ensure") != nullptr;
    return linked && Py_IsInitialized();
#endif
}

// Counted before `closing` is read, so that the end of Python either sees this visit or is seen by it.
Visit::Visit() {
    visits++;
    welcome_ = !closing && pythonIsAlive();
}

Visit::~Visit() { visits--; }

bool preparePython() {
    static bool prepared = false; // guarded by the GIL
    if (prepared)
        return true;
    Object function(PyCFunction_NewEx(&atExit, nullptr, nullptr));
    Object module(PyImport_ImportModule("atexit"));
    if (!function || !module)
        return false;
    Object done(PyObject_CallMethod(module.get(), "register", "O", function.get()));
    if (!done)
        return false;
    stayLoaded();
    prepared = true;
    return true;
}

Object importBridge() { return Object(PyImport_ImportModule(kBridge)); }

std::string takeError() {
    Object error(PyErr_GetRaisedException());
    if (!error)
        return "Python failed and did not say why";
    Object bridge = importBridge();
    if (bridge) {
        Object described(PyObject_CallMethod(bridge.get(), "describe", "O", error.get()));
        std::string words = text(described.get());
        PyErr_Clear();
        if (!words.empty())
            return words;
    }
    PyErr_Clear();
    Object plain(PyObject_Str(error.get()));
    std::string words = text(plain.get());
    PyErr_Clear();
    return std::string("the Python of this process cannot use ") + kBridge + ": " + words +
           ". Install hdrunet-video into the Python that VapourSynth runs";
}

} // namespace hdrunet
