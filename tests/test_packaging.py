"""The house rules: what is installed, what imports what, what is public."""

from __future__ import annotations

import ast
import configparser
import inspect
import pkgutil
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import hdrunet_video
from tests.conftest import loaded

ROOT = Path(__file__).parent.parent
FOLDERS = {"pipeline": "hdrunet_video", "plugin": "hdrunet_video.plugin", "presets": "hdrunet_video.presets"}


def module_name(path: Path) -> str:
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[top], *(part for part in rest if part != "__init__")])


SOURCES = {module_name(path): path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}


@cache
def imports(name: str) -> set[str]:
    """Modules of ours that a module imports when it is imported itself; not for type checkers, not in functions."""
    path, found = SOURCES[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    todo: list[ast.stmt] = list(ast.parse(path.read_text()).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            inner = {f"{module}.{each.name}" for each in node.names}
            found |= (inner & SOURCES.keys()) or {module}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, (ast.Try, ast.With, ast.If)) and "TYPE_CHECKING" not in ast.dump(node):
            todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found & SOURCES.keys()


def reachable(name: str) -> set[str]:
    """All modules of ours that come with a module."""
    found, todo = set(), {name}
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo |= imports(each)
    return found - {name}


def test_setup_cfg_lists_the_packages_on_disk() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    assert sorted(listed) == sorted(name for name, path in SOURCES.items() if path.name == "__init__.py")
    mapped = dict(line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines())
    assert {folder: name for name, folder in mapped.items()}.items() <= FOLDERS.items()


def test_every_preset_is_installed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]
    for folder, name in FOLDERS.items():
        data = [
            path for path in (ROOT / folder).rglob("*") if path.suffix in (".toml", ".npy", ".safetensors", ".typed")
        ]
        for path in data:
            package = module_name(path.parent / "__init__.py")
            assert any(path.match(each.strip()) for each in patterns.get(package, "").split(",")), f"{name}: {path}"


# From the bottom up: a module may import those in lines above it, and those beside it in its own line.
LAYERS = [
    "errors receipts interrupt host cgroup command processor sequence setting threads device tried",
    "color.spec",
    "color.*",
    "frame",
    "color.convert color.path color.cuda color.cuda_trial",
    "presets.*",
    "presets",
    "network.* baselines.*",
    "cut_off index media probe",
    "picture reader nvidia source_color timeline hardware at_once backend",
    "in_flight target tiling",
    "active identity job engine writer exr mastering matroska_aspect light_level_patch frame_hashes prefetch progress "
    "sample",
    "engines segments remux container tune",
    "assemble",
    "work",
    "run",
    "options closed_pipes",
    "farm.*",
    "api describe doctor messages",
    "cli",
]


def layer(name: str) -> int | None:
    local = name.removeprefix("hdrunet_video").lstrip(".")
    exact = [height for height, names in enumerate(LAYERS) if local in names.split()]
    wild = [
        height
        for height, names in enumerate(LAYERS)
        if any(each.endswith(".*") and f"{local}.".startswith(each[:-1]) for each in names.split())
    ]
    return next(iter(exact + wild), None)


@pytest.mark.parametrize("name", [name for name in SOURCES if layer(name) is not None])
def test_imports_run_one_way(name: str) -> None:
    height = layer(name)
    assert height is not None
    for other in imports(name) - {"hdrunet_video"}:
        below = layer(other)
        assert below is not None, f"{name} imports {other}, which is no layer below it"
        assert below <= height, f"{name} imports {other}, which lies above it"


@pytest.mark.parametrize("name", SOURCES)
def test_no_module_comes_with_itself(name: str) -> None:
    assert not any(name in reachable(other) for other in imports(name)), f"{name} is part of a circle"


def test_the_runtime_comes_without_baselines_metrics_and_training() -> None:
    runtime = reachable("hdrunet_video.run") | reachable("hdrunet_video.cli") | reachable("hdrunet_video.api")
    assert "hdrunet_video.engine" in runtime
    assert not [name for name in runtime if name.split(".")[1:2] in (["baselines"], ["metrics"], ["training"])]


def test_nothing_imports_the_plugin() -> None:
    users = [name for name in SOURCES if ".plugin" not in name and any(".plugin" in each for each in imports(name))]
    assert users == []


@pytest.mark.parametrize(
    "statement",
    [
        "import hdrunet_video",
        "from hdrunet_video import options; options.parser().format_help()",
        "import hdrunet_video.errors, hdrunet_video.cli, hdrunet_video.color.spec",
        "from hdrunet_video.cli import main; main(['--list-presets'])",
        "from hdrunet_video.cli import main; main(['in.mp4', 'out.mov', '--frames', 'abc'])",
    ],
)
def test_flags_and_help_load_nothing_heavy(statement: str) -> None:
    assert not {"torch", "av", "numpy", "vapoursynth", "safetensors"} & loaded(statement)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["no.mp4", "out.mov"], 65), (["good.mp4", "out.xyz"], 2), (["--make-sample", "made.mp4"], 0)],
)
def test_what_needs_no_network_does_not_wait_for_torch(here: Path, arguments: list[str], code: int) -> None:
    assert "torch" not in loaded(f"from hdrunet_video.cli import main; assert main({arguments}) == {code}")


def test_the_folder_names_are_no_modules() -> None:
    modules = loaded("import hdrunet_video as h; [getattr(h, name) for name in h.__all__]")
    assert "hdrunet_video.run" in modules
    assert not {name for name in modules if name.split(".")[0] in ("pipeline", "presets", "plugin")}


@pytest.mark.parametrize("name", hdrunet_video.__all__)
def test_public_names_are_explained(name: str) -> None:
    value = getattr(import_module(hdrunet_video._HOMES[name], "hdrunet_video"), name)
    assert value.__name__ == name
    assert inspect.getdoc(value)


def test_public_names_are_not_hidden_by_modules_of_the_same_name() -> None:
    """Python sets `package.run` to the module as soon as anything imports it."""
    code = "import hdrunet_video as h; h.convert; print([n for n in h.__all__ if not callable(getattr(h, n))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_public_list_is_complete() -> None:
    assert sorted(hdrunet_video.__all__) == hdrunet_video.__all__
    assert set(hdrunet_video.__all__) == set(hdrunet_video._HOMES)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = hdrunet_video.no_such_name


@pytest.mark.parametrize("name", SOURCES)
def test_every_module_and_public_function_says_what_it_is_for(name: str) -> None:
    tree = ast.parse(SOURCES[name].read_text())
    assert ast.get_docstring(tree)
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    # The error classes are explained by the tree above them.
    assert bare == [] or name == "hdrunet_video.errors"


@pytest.mark.parametrize("path", SOURCES.values(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_a_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_every_module_can_be_imported() -> None:
    for found in pkgutil.walk_packages(hdrunet_video.__path__, "hdrunet_video."):
        if found.name.startswith("hdrunet_video.network.cuda_") and find_spec("triton") is None:
            continue  # not there for every platform
        if not found.name.endswith(("__main__", ".plugin")) and ".plugin." not in found.name:
            import_module(found.name)


@pytest.mark.parametrize("script", ["bench-gpu", "train-gpu"])
def test_scripts_for_a_gpu_name_what_there_is(script: str) -> None:
    """They cost minutes of a machine that is lent, and run nowhere else."""
    text = (ROOT / ".ci" / script).read_text()
    imports = re.findall(r"^from (hdrunet_video[\w.]*) import (.+)$", text, re.MULTILINE)
    assert imports
    for module, names in imports:
        assert [name for name in names.split(", ") if not hasattr(import_module(module), name)] == []
    assert all((ROOT / path).is_file() for path in re.findall(r"tests/[\w./]+", text))
