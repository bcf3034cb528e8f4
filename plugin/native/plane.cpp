#include "plane.h"

namespace hdrunet {

namespace {

struct Plane {
    PyObject_HEAD
    const VSFrame *frame;
    const VSAPI *vsapi;
    void *data;
    Py_ssize_t shape[2];
    Py_ssize_t strides[2];
    char format[2];
};

// Source planes too are given as writable: torch knows no read-only memory and warns of every frame. The
// engine does not write to them; tests/plugin compares a source before and after.
int getBuffer(PyObject *object, Py_buffer *view, int) {
    Plane *plane = reinterpret_cast<Plane *>(object);
    view->buf = plane->data;
    view->itemsize = plane->strides[1];
    view->len = plane->shape[0] * plane->shape[1] * plane->strides[1];
    view->readonly = 0;
    view->ndim = 2;
    view->format = plane->format;
    view->shape = plane->shape;
    view->strides = plane->strides;
    view->suboffsets = nullptr;
    view->internal = nullptr;
    Py_IncRef(object);
    view->obj = object;
    return 0;
}

void dealloc(PyObject *object) {
    Plane *plane = reinterpret_cast<Plane *>(object);
    PyObject *type = reinterpret_cast<PyObject *>(Py_TYPE(object));
    if (plane->frame)
        plane->vsapi->freeFrame(plane->frame);
    PyObject_Free(object);
    Py_DecRef(type);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void *>(dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void *>(getBuffer)},
    {0, nullptr},
};
PyType_Spec spec = {"hdrunet_video.plugin.Plane", sizeof(Plane), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

char bufferFormat(const VSVideoFormat *format) {
    if (format->sampleType == stFloat)
        return format->bytesPerSample == 2 ? 'e' : 'f';
    return format->bytesPerSample == 1 ? 'B' : 'H';
}

} // namespace

Object newPlane(const VSFrame *frame, int index, const void *data, const VSAPI *vsapi) {
    static PyObject *type = nullptr; // guarded by the GIL; never freed, since buffers may outlive every core
    if (!type && !(type = PyType_FromSpec(&spec)))
        return nullptr;
    PyObject *object = PyType_GenericAlloc(reinterpret_cast<PyTypeObject *>(type), 0);
    if (!object)
        return nullptr;
    const VSVideoFormat *format = vsapi->getVideoFrameFormat(frame);
    Plane *plane = reinterpret_cast<Plane *>(object);
    plane->frame = vsapi->addFrameRef(frame);
    plane->vsapi = vsapi;
    plane->data = const_cast<void *>(data);
    plane->shape[0] = vsapi->getFrameHeight(frame, index);
    plane->shape[1] = vsapi->getFrameWidth(frame, index);
    plane->strides[0] = vsapi->getStride(frame, index);
    plane->strides[1] = format->bytesPerSample;
    plane->format[0] = bufferFormat(format);
    plane->format[1] = '\0';
    return Object(object);
}

} // namespace hdrunet
