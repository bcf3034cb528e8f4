#include "filter.h"

#include "maps.h"
#include "plane.h"
#include "python.h"

#include <memory>
#include <string>

namespace hdrunet {

const char *const kArguments = "clip:vnode;"
                               "weights:data:opt;"
                               "model:data:opt;"
                               "output:data:opt;"
                               "format:int:opt;"
                               "device:data:opt;"
                               "precision:data:opt;"
                               "backend:data:opt;"
                               "tile:int[]:opt;"
                               "num_streams:int:opt;"
                               "peak:float:opt;"
                               "white:float:opt;"
                               "display_gamma:float:opt;"
                               "strength:float:opt;"
                               "matrix_in:data:opt;"
                               "primaries_in:data:opt;"
                               "range_in:data:opt;"
                               "chroma_location_in:data:opt;"
                               "assume_sdr:int:opt;"
                               "dither:int:opt;";
const char *const kReturns = "clip:vnode;";

namespace {

const std::string kName = "Reconstruct";

// What this library and hdrunet_video.plugin.bridge have agreed on; bridge.py holds the same number.
const int kContract = 3;

const char *const kEnding =
    "Python is shutting down, so no more frames are made. Ask for all frames before the script ends";

struct Instance {
    VSNode *clip = nullptr;
    VSVideoInfo video = {};     // of the result
    PyObject *frame = nullptr;  // Filter.frame of bridge.py, bound
};

// (planes) of a frame, written in place where `writable` is the frame itself.
Object planesOf(const VSFrame *frame, VSFrame *writable, const VSAPI *vsapi) {
    int count = vsapi->getVideoFrameFormat(frame)->numPlanes;
    Object planes(PyTuple_New(count));
    for (int i = 0; planes && i < count; i++) {
        const void *data = writable ? vsapi->getWritePtr(writable, i) : vsapi->getReadPtr(frame, i);
        Object plane = newPlane(frame, i, data, vsapi);
        if (!plane || PyTuple_SetItem(planes.get(), i, plane.release()))
            return nullptr;
    }
    return planes;
}

// Lets Python make `made` of `source`. With the GIL; false with a Python error set.
bool fill(const Instance *self, const VSFrame *source, VSFrame *made, VSCore *core, const VSAPI *vsapi) {
    Object from = planesOf(source, nullptr, vsapi);
    Object to = from ? planesOf(made, made, vsapi) : nullptr;
    Object properties = to ? propertiesOf(vsapi->getFramePropertiesRO(source), vsapi) : nullptr;
    if (!properties)
        return false;
    VSCoreInfo info = {};
    vsapi->getCoreInfo(core, &info); // here, for scripts may change the number of threads until the first frame
    Object changes(
        PyObject_CallFunction(self->frame, "OOOi", from.get(), to.get(), properties.get(), info.numThreads));
    PyObject *stale = nullptr, *written = nullptr; // borrowed
    if (!changes || !PyArg_ParseTuple(changes.get(), "OO", &stale, &written))
        return false;
    VSMap *map = vsapi->getFramePropertiesRW(made);
    return deleteProperties(map, stale, vsapi) && setProperties(map, written, vsapi);
}

const VSFrame *VS_CC getFrame(int n, int reason, void *instance, void **, VSFrameContext *context, VSCore *core,
                              const VSAPI *vsapi) {
    const Instance *self = static_cast<const Instance *>(instance);
    if (reason == arInitial)
        vsapi->requestFrameFilter(n, self->clip, context);
    if (reason != arAllFramesReady)
        return nullptr;

    std::string error = kEnding;
    VSFrame *made = nullptr;
    Visit visit;
    if (visit.welcome()) {
        const VSFrame *source = vsapi->getFrameFilter(n, self->clip, context);
        const VSVideoInfo &video = self->video;
        made = vsapi->newVideoFrame(&video.format, video.width, video.height, source, core);
        {
            Gil gil;
            bool filled = fill(self, source, made, core, vsapi);
            if (filled || !pythonIsEnding())
                error = filled ? "" : takeError();
            PyErr_Clear();
        }
        vsapi->freeFrame(source);
    }
    if (error.empty())
        return made;
    vsapi->freeFrame(made);
    vsapi->setFilterError((kName + ": frame " + std::to_string(n) + ": " + error).c_str(), context);
    return nullptr;
}

void VS_CC freeFilter(void *instance, VSCore *, const VSAPI *vsapi) {
    Instance *self = static_cast<Instance *>(instance);
    vsapi->freeNode(self->clip);
    if (self->frame && pythonIsAlive()) {
        Gil gil;
        Py_DecRef(self->frame);
    }
    delete self;
}

// Lets Python check the arguments; sets self.frame and the format of the result. With the GIL; false with a
// Python error set.
bool prepare(Instance *self, const VSMap *in, VSCore *core, const VSAPI *vsapi) {
    Object bridge = preparePython() ? importBridge() : nullptr;
    Object arguments = bridge ? argumentsOf(in, vsapi) : nullptr;
    if (!arguments)
        return false;
    const VSVideoInfo &video = self->video;
    const VSVideoFormat &format = video.format;
    Object clip(Py_BuildValue("(iiiiiii)", video.width, video.height, format.colorFamily, format.sampleType,
                              format.bitsPerSample, format.subSamplingW, format.subSamplingH));
    if (!clip)
        return false;
    Object filter(PyObject_CallMethod(bridge.get(), "create", "iOO", kContract, clip.get(), arguments.get()));
    Object output(filter ? PyObject_GetAttrString(filter.get(), "output") : nullptr);
    if (!output)
        return false;
    unsigned long id = PyLong_AsUnsignedLong(output.get());
    if (PyErr_Occurred() || !vsapi->getVideoFormatByID(&self->video.format, static_cast<uint32_t>(id), core))
        return false;
    self->frame = PyObject_GetAttrString(filter.get(), "frame");
    return self->frame != nullptr;
}

} // namespace

void VS_CC create(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi) {
    auto self = std::make_unique<Instance>();
    self->clip = vsapi->mapGetNode(in, "clip", 0, nullptr);
    self->video = *vsapi->getVideoInfo(self->clip);
    std::string error = pythonIsEnding() ? kEnding
                                         : "this process runs no Python, which the network needs. Use vspipe, Python, "
                                           "or an editor on them";
    Visit visit;
    if (visit.welcome()) {
        Gil gil;
        error = prepare(self.get(), in, core, vsapi) ? "" : takeError();
    }
    if (!error.empty()) {
        freeFilter(self.release(), core, vsapi);
        vsapi->mapSetError(out, (kName + ": " + error).c_str());
        return;
    }
    VSFilterDependency dependency = {self->clip, rpStrictSpatial};
    VSVideoInfo video = self->video;
    // Frames run side by side; how many of them are in the network at once is the engine's business.
    vsapi->createVideoFilter(out, kName.c_str(), &video, getFrame, freeFilter, fmParallel, &dependency, 1,
                             self.release(), core);
}

} // namespace hdrunet
