// The door to VapourSynth. Python is not touched here: every new core comes by, with or without Python.
#include "filter.h"

VS_EXTERNAL_API(void) VapourSynthPluginInit2(VSPlugin *plugin, const VSPLUGINAPI *vspapi) {
    vspapi->configPlugin("video.hdrunet", "hdrunet", "SDR video to HDR with HDRUNet",
                         VS_MAKE_VERSION(HDRUNET_VERSION_MAJOR, HDRUNET_VERSION_MINOR), VAPOURSYNTH_API_VERSION, 0,
                         plugin);
    vspapi->registerFunction("Reconstruct", hdrunet::kArguments, hdrunet::kReturns, hdrunet::create, nullptr, plugin);
}
