#include "maps.h"

namespace hdrunet {

namespace {

Object element(const VSMap *map, const char *key, int type, int index, const VSAPI *vsapi) {
    if (type == ptInt)
        return Object(PyLong_FromLongLong(vsapi->mapGetInt(map, key, index, nullptr)));
    if (type == ptFloat)
        return Object(PyFloat_FromDouble(vsapi->mapGetFloat(map, key, index, nullptr)));
    const char *data = vsapi->mapGetData(map, key, index, nullptr);
    return Object(PyUnicode_DecodeUTF8(data, vsapi->mapGetDataSize(map, key, index, nullptr), "replace"));
}

bool setFloats(VSMap *map, const char *key, PyObject *list, const VSAPI *vsapi) {
    vsapi->mapDeleteKey(map, key);
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        double value = PyFloat_AsDouble(PyList_GetItem(list, i));
        if (PyErr_Occurred())
            return false;
        vsapi->mapSetFloat(map, key, value, maAppend);
    }
    return true;
}

bool setProperty(VSMap *map, const char *key, PyObject *value, const VSAPI *vsapi) {
    if (PyList_Check(value))
        return setFloats(map, key, value, vsapi);
    if (PyLong_Check(value)) {
        long long number = PyLong_AsLongLong(value);
        vsapi->mapSetInt(map, key, number, maReplace);
    } else if (PyUnicode_Check(value)) {
        Py_ssize_t size = 0;
        const char *data = PyUnicode_AsUTF8AndSize(value, &size);
        if (data)
            vsapi->mapSetData(map, key, data, static_cast<int>(size), dtUtf8, maReplace);
    } else { // PyFloat_Check would need the data of libpython
        double number = PyFloat_AsDouble(value);
        if (!PyErr_Occurred())
            vsapi->mapSetFloat(map, key, number, maReplace);
    }
    return !PyErr_Occurred();
}

} // namespace

Object argumentsOf(const VSMap *map, const VSAPI *vsapi) {
    Object result(PyDict_New());
    for (int k = 0; result && k < vsapi->mapNumKeys(map); k++) {
        const char *key = vsapi->mapGetKey(map, k);
        int type = vsapi->mapGetType(map, key);
        if (type != ptInt && type != ptFloat && type != ptData)
            continue;
        Object values(PyList_New(0));
        for (int i = 0; values && i < vsapi->mapNumElements(map, key); i++) {
            Object value = element(map, key, type, i, vsapi);
            if (!value || PyList_Append(values.get(), value.get()))
                return nullptr;
        }
        if (!values || PyDict_SetItemString(result.get(), key, values.get()))
            return nullptr;
    }
    return result;
}

Object propertiesOf(const VSMap *map, const VSAPI *vsapi) {
    Object result(PyDict_New());
    for (int k = 0; result && k < vsapi->mapNumKeys(map); k++) {
        const char *key = vsapi->mapGetKey(map, k);
        bool number = vsapi->mapGetType(map, key) == ptInt && vsapi->mapNumElements(map, key) > 0;
        Object value = number ? element(map, key, ptInt, 0, vsapi) : Object(PyBool_FromLong(1));
        if (!value || PyDict_SetItemString(result.get(), key, value.get()))
            return nullptr;
    }
    return result;
}

bool setProperties(VSMap *map, PyObject *values, const VSAPI *vsapi) {
    Object items(PyMapping_Items(values));
    for (Py_ssize_t i = 0; items && i < PyList_Size(items.get()); i++) {
        PyObject *item = PyList_GetItem(items.get(), i);
        const char *key = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(item, 0), nullptr);
        if (!key || !setProperty(map, key, PyTuple_GetItem(item, 1), vsapi))
            return false;
    }
    return items != nullptr;
}

bool deleteProperties(VSMap *map, PyObject *names, const VSAPI *vsapi) {
    for (Py_ssize_t i = 0; i < PyList_Size(names); i++) {
        const char *key = PyUnicode_AsUTF8AndSize(PyList_GetItem(names, i), nullptr);
        if (!key)
            return false;
        vsapi->mapDeleteKey(map, key);
    }
    return !PyErr_Occurred();
}

} // namespace hdrunet
