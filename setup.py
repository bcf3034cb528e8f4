"""Builds the VapourSynth plugin. All that can be said without code is in setup.cfg."""

import importlib.util
import re
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LIBRARY = "libhdrunet"
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
NATIVE = Path("plugin/native")
FLAGS = (
    ["/std:c++17", "/EHsc"]
    if sys.platform == "win32"
    else ["-std=c++17", "-fvisibility=hidden", "-g0", "-Wall", "-Wextra"]
)


class BuildPlugin(build_ext):
    """A library that VapourSynth finds, not a module that Python imports."""

    def get_ext_filename(self, fullname):
        # Asked with the full name and with its last part. The core loads the platform's own suffix only.
        return str(Path(*fullname.split("."))) + SUFFIX

    def get_export_symbols(self, ext):
        return ext.export_symbols  # there is no PyInit_

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:  # no compiler, or one that is too old
            self.warn(
                f"THE VAPOURSYNTH FILTER WAS NOT BUILT: {error}. The command line works without it. To have "
                "core.hdrunet.Reconstruct, install a C++17 compiler (Debian: apt-get install g++) and install again."
            )

    def copy_extensions_to_source(self):
        # An editable install: into the wheel, so that pip puts it beside VapourSynth and removes it again.
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


def include_dirs():
    found = importlib.util.find_spec("vapoursynth")  # not imported, so no core is made
    return [str(Path(found.origin).parent / "include")] if found else []


version = re.search(r'__version__ = "(\d+)\.(\d+)', Path("pipeline/__init__.py").read_text())
setup(
    ext_modules=[
        Extension(
            f"vapoursynth.plugins.hdrunet.{LIBRARY}",  # its path below site-packages
            sorted(map(str, NATIVE.glob("*.cpp"))),
            depends=sorted(map(str, NATIVE.glob("*.h"))),
            include_dirs=include_dirs(),
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
    ],
    cmdclass={"build_ext": BuildPlugin},
)
