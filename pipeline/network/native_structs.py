"""The structs of native/*.h, as ctypes has them. A change of one is a change of INTERFACE, here and in kernels.h."""

from __future__ import annotations

import ctypes

INTERFACE = 5
"""Of a library that these belong to: hdrunet_interface() of native/kernels.h."""
LONG, POINTER = ctypes.c_long, ctypes.c_void_p


class Modulation(ctypes.Structure):
    """Modulation of native/tasks.h."""

    _fields_ = (
        *((name, POINTER) for name in ("features", "condition")),
        *((name, LONG) for name in ("channels", "inputs")),
        ("packed", POINTER),
        *((name, LONG) for name in ("features_pitch", "condition_pitch", "floats", "exact")),
    )


class Convolution(ctypes.Structure):
    """Convolution of native/tasks.h."""

    _fields_ = (
        ("input", POINTER),
        *((name, LONG) for name in ("height", "width", "channels", "outputs", "side", "stride")),
        *((name, POINTER) for name in ("packed", "added", "result")),
        *((name, LONG) for name in ("after", "shuffled", "input_pitch", "added_pitch")),
        ("modulation", ctypes.POINTER(Modulation)),
    )


class Layer(ctypes.Structure):
    """Layer of native/tasks.h."""

    _fields_ = (
        *((name, LONG) for name in ("inputs", "outputs", "after")),
        *((name, POINTER) for name in ("packed", "result")),
        ("floats", LONG),
    )


class Chain(ctypes.Structure):
    """Chain of native/tasks.h."""

    _fields_ = (
        ("input", POINTER),
        *((name, LONG) for name in ("height", "width", "channels", "side")),
        ("layers", ctypes.POINTER(Layer)),
        ("count", LONG),
    )


class Narrow(ctypes.Structure):
    """Narrow of native/tasks.h."""

    _fields_ = (
        ("input", POINTER),
        *((name, LONG) for name in ("height", "width", "channels", "side")),
        *((name, POINTER) for name in ("packed", "added", "factors", "result")),
    )


class Team(ctypes.Structure):
    """Team of native/team.h."""

    _fields_ = (
        ("threads", LONG),
        *((name, POINTER) for name in ("parallel", "number", "scratch")),
        ("pitch", LONG),
    )
