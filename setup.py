"""Builds the VapourSynth plugin and the kernels for the CPU. All that can be said without code is in setup.cfg."""

import importlib.util
import platform
import re
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = "_hdrunet_kernels_"
PLUGIN = "vapoursynth.plugins.hdrunet.libhdrunet"  # its path below site-packages
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
FLAGS = (
    ["/std:c++17", "/EHsc"]
    if sys.platform == "win32"
    else ["-std=c++17", "-fvisibility=hidden", "-g0", "-Wall", "-Wextra"]
)
INSTRUCTIONS = {"avx2": ["avx2", "fma"], "avx512": ["avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"]}
INSTRUCTIONS["avx512_bf16"] = [*INSTRUCTIONS["avx512"], "avx512bf16"]
INSTRUCTIONS["amx_bf16"] = INSTRUCTIONS["avx512"]  # what is of AMX is spelled out
INSTALL = "Install GCC 11, clang 12 or later (Debian: apt-get install g++), and install again."


class BuildLibraries(build_ext):
    """Libraries that VapourSynth or ctypes find, not modules that Python imports."""

    def get_ext_filename(self, fullname):
        # Asked with the full name and with its last part. VapourSynth loads the platform's own suffix only.
        return str(Path(*fullname.split("."))) + SUFFIX

    def get_export_symbols(self, ext):
        return ext.export_symbols  # there is no PyInit_

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:  # no compiler, or one that is too old
            if ext.name == PLUGIN:
                self.warn(f"THE VAPOURSYNTH FILTER WAS NOT BUILT: {error}. The command line works without. {INSTALL}")
            else:
                name = ext.name.removeprefix(KERNELS).upper()
                self.warn(
                    f"THE CPU KERNELS FOR {name} WERE NOT BUILT: {error}. All works without, more slowly. {INSTALL}"
                )

    def copy_extensions_to_source(self):
        # An editable install: into the wheel, so that pip puts it where it belongs and removes it again.
        for ext in self.extensions:
            name = self.get_ext_filename(self.get_ext_fullname(ext.name))
            built = Path(self.build_lib) / name
            if self.editable_mode and built.exists():
                target = Path(self.get_finalized_command("install").install_lib) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(built), str(target))

    def get_output_mapping(self):
        return {} if self.editable_mode else super().get_output_mapping()

    def get_outputs(self):
        return [path for path in super().get_outputs() if Path(path).exists()]


def plugin():
    found = importlib.util.find_spec("vapoursynth")  # not imported, so no core is made
    version = re.search(r'__version__ = "(\d+)\.(\d+)', Path("pipeline/__init__.py").read_text())
    native = Path("plugin/native")
    return Extension(
        PLUGIN,
        sorted(map(str, native.glob("*.cpp"))),
        depends=sorted(map(str, native.glob("*.h"))),
        include_dirs=[str(Path(found.origin).parent / "include")] if found else [],
        define_macros=[
            ("Py_LIMITED_API", "0x030C0000"),
            ("VS_USE_API_42", None),
            ("HDRUNET_VERSION_MAJOR", version[1]),
            ("HDRUNET_VERSION_MINOR", version[2]),
        ],
        py_limited_api=True,
        extra_compile_args=FLAGS,
        extra_link_args=["-Wl,-z,lazy"] if sys.platform.startswith("linux") else [],
    )


def kernels():
    """Where they were measured: elsewhere oneDNN does what they do."""
    if not (sys.platform.startswith("linux") and platform.machine() == "x86_64"):
        return []
    native = Path("pipeline/network/native")
    return [
        Extension(
            KERNELS + name,
            [str(native / f"{name}.cpp")],
            depends=sorted(map(str, native.glob("*.h"))),
            py_limited_api=True,
            extra_compile_args=[*FLAGS, "-O3", "-ffp-contract=fast", *(f"-m{each}" for each in instructions)],
        )
        for name, instructions in INSTRUCTIONS.items()
    ]


setup(ext_modules=[plugin(), *kernels()], cmdclass={"build_ext": BuildLibraries})
