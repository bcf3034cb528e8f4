from collections.abc import Sequence
from typing import Literal

import vapoursynth as vs

class Plugin(vs.Plugin):  # type: ignore[misc]  # VapourSynth has no py.typed
    def Reconstruct(
        self,
        clip: vs.VideoNode,
        weights: str = "",
        model: Literal["hdrunet", "identity", "expansion", "bt2446a"] = "hdrunet",
        output: Literal["pq", "hlg", "linear", "signal"] = "pq",
        format: int | vs.PresetVideoFormat = ...,
        device: str = "auto",
        precision: Literal["auto", "fp16", "fp32", "bf16"] = "auto",
        backend: Literal["auto", "openvino"] = "auto",
        tile: int | Sequence[int] = ...,
        num_streams: int = ...,
        peak: float = 1000.0,
        white: float = 203.0,
        display_gamma: float = 2.24,
        strength: float = 1.0,
        matrix_in: str = "",
        primaries_in: str = "",
        range_in: Literal["", "limited", "full"] = "",
        chroma_location_in: str = "",
        assume_sdr: int | bool = False,
        dither: int | bool = ...,
    ) -> vs.VideoNode:
        """Turn an SDR clip into HDR with HDRUNet.

        weights: a .safetensors or .pth file; empty takes the bundled ones. model: `identity` is the light mapping
        without the network.
        output: `pq` and `hlg` for delivery, `linear` light (1.0 = white, no roll-off unless peak is given), or
        `signal`, what the network says (1.0 = SDR white, unbounded, the clip's primaries).
        format: RGB48 by default (RGBS or RGBH for a clip of floats, `linear` and `signal`); for example
        vs.YUV420P10, vs.YUV422P10, vs.YUV444P16.
        device: `auto`, `cpu`, `cuda`, `cuda:N`. precision of the network. backend: `openvino` where it
        is installed, on the CPU. tile: width and height; 0 is off.
        num_streams: frames in the network at once, core.num_threads at most; they share the threads of a CPU. By
        default what `hdrunet-video --tune` has found for this size, else 3 on CUDA and 1 on the CPU.
        peak, white: cd/m2. display_gamma: 2.24, or 2.4 for BT.1886.
        strength: share of the network's light, 0 to 1; the rest is the clip's. `signal` is the signal of that light.
        matrix_in, primaries_in, range_in, chroma_location_in: what the clip is, whatever its frame properties say,
        with the command line's names.
        assume_sdr: take frames with HDR properties as SDR. dither: blue noise before rounding; by default for all
        integer formats but 4:2:0, which goes to lossy encoders.
        """

class Core(vs.Core):  # type: ignore[misc]
    @property
    def hdrunet(self) -> Plugin: ...

core: Core
