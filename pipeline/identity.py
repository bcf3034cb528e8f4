"""Hashes that tie a segment to the plan it was made for. Equal ids mean equal bytes on the same hardware with the same
kernels, which receipts name; anything else is never reused."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hdrunet_video
from hdrunet_video.presets import as_json

from .errors import InputError, RetryError

if TYPE_CHECKING:
    from .job import Plan


@dataclass(frozen=True)
class PlanIdentity:
    """SHA-256 hashes in hexadecimal."""

    plan_id: str
    source_sha256: str
    weights_sha256: str


def file_sha256(path: Path, closed: threading.Event | None = None) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises InterruptedError once it is `closed`."""
    digest, block = hashlib.sha256(), bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            if closed is not None and closed.is_set():
                raise InterruptedError(errno.EINTR, "nobody asks any more")
            digest.update(memoryview(block)[:count])
    return digest.hexdigest()


class Identification:
    """The identity of a plan, which a thread works out: frames need not wait until gigabytes are read."""

    def __init__(self, plan: Plan) -> None:
        self._future, self._closed = Future[PlanIdentity](), threading.Event()
        arguments = plan, plan.weights_sha256
        threading.Thread(target=self._work, args=arguments, name="identity", daemon=True).start()

    def _work(self, plan: Plan, weights: str) -> None:
        try:
            self._future.set_result(_plan_identity(plan, weights, self._closed))
        except BaseException as error:  # for those who ask
            self._future.set_exception(error)

    def known(self) -> bool:
        """Whether the identity is there. Raises what keeps it from ever being so, see result."""
        if not self._future.done():
            return False
        self._future.result()
        return True

    def result(self) -> PlanIdentity:
        """The identity, when it is there. Raises InputError or RetryError."""
        return self._future.result()

    def close(self) -> None:
        """Nobody asks any more: the rest is not read."""
        self._closed.set()


_PICTURES = 4
"""Raised when the same source becomes other pictures or times: segments made before are not used again."""


def _plan_identity(plan: Plan, weights: str, closed: threading.Event) -> PlanIdentity:
    """Hash the source (unless the plan knows its hash), the weights, every setting and the deciding versions."""
    try:
        source = plan.source_sha256 or file_sha256(plan.info.path, closed)
    except OSError as error:
        raise _lost(plan, error) from None
    check_source_unchanged(plan)
    facts: dict[str, Any] = {
        "source": source,
        "pictures": _PICTURES,
        "weights": weights,
        "model": plan.job.model,
        "precision": plan.job.precision,
        "backend": plan.job.backend,
        "tile": plan.job.tile,
        "preset": as_json(plan.preset),
        "mapping": asdict(plan.mapping),
        "color": asdict(plan.color),
        "deinterlace": plan.deinterlace,
        "segments": [(segment.start, segment.stop) for segment in plan.segments],
        "keep_going": plan.job.keep_going,
        "decoder": plan.job.decoder,
        "versions": [*package_versions(plan.preset.codec, plan.job.backend).values(), _ffmpeg_version()],
        # The files of a segment have the names of the result.
        **({"files": plan.target.name} if plan.is_sequence else {}),
    }
    return PlanIdentity(_digest(facts), source, weights)


def check_source_unchanged(plan: Plan) -> None:
    """Raise InputError where the source is no longer the file that was probed, for example while it is recorded.

    Raises RetryError where it is not there any more.
    """
    try:
        facts = plan.info.path.stat()
    except OSError as error:
        raise _lost(plan, error) from None
    if (facts.st_size, facts.st_mtime_ns) != (plan.info.size, plan.info.mtime_ns):
        raise InputError(
            f"{plan.info.path} changed while it was read",
            "Wait until it is complete, then run the command again.",
        )


def _lost(plan: Plan, error: OSError) -> RetryError:
    return RetryError(
        f"{plan.info.path} can no longer be read: {error.strerror}",
        "Check the disk or the network; the same command goes on.",
    )


def weights_sha256(plan: Plan) -> str:
    """Hash of the weights as they are now; empty for models without weights. Raises WeightsError."""
    if plan.job.model != "hdrunet":
        return ""
    from .network import weights

    return weights.weights_sha256(plan.job.weights or None)


def package_versions(codec: str, backend: str) -> dict[str, str]:
    """Versions of the packages that decide the bytes with a preset's `codec` and a backend; none is imported for it."""
    found = {"hdrunet-video": hdrunet_video.__version__, "torch": version("torch"), "av": version("av")}
    for name in (*(["OpenEXR"] if codec == "exr" else []), *([backend] if backend != "auto" else [])):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _ffmpeg_version() -> list[tuple[int, ...]]:
    import av

    return [av.library_versions[name] for name in sorted(av.library_versions)]


def _digest(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
