"""Artifacts on disk by their SHA-256: an artifact is there whole and checked, or not at all."""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from nodes import artifact
from nodes.errors import ArtifactError


class Store:
    """A folder of artifacts, `root/<sha256>/`. Several processes may share one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def has(self, sha: str) -> bool:
        """Whether the artifact is here."""
        return self._folder(sha).is_dir()

    def path(self, sha: str) -> Path:
        """The artifact's folder; ArtifactError if it is not here."""
        if not self.has(sha):
            raise ArtifactError(f"artifact {sha[:12]}… is not in {self.root}; send it first")
        return self._folder(sha)

    def receive(self, sha: str) -> "Incoming":
        """Take in an artifact chunk by chunk: `with store.receive(sha) as incoming: …; incoming.commit()`."""
        return Incoming(self._folder(sha), sha)

    def add(self, folder: Path) -> str:
        """Copy in an artifact written elsewhere on this machine; its id."""
        sha = artifact.hash_file(folder / artifact.MANIFEST)
        if not self.has(sha):
            with self.receive(sha) as incoming:
                for name in (artifact.MANIFEST, *artifact.read(folder).files):
                    shutil.copyfile(folder / name, incoming.folder / name)
                incoming.commit()
        return sha

    def remove(self, sha: str) -> None:
        """Forget an artifact; nothing happens if it is not here."""
        if self.has(sha):
            shutil.rmtree(self._folder(sha))

    def _folder(self, sha: str) -> Path:
        if len(sha) != 64 or not set(sha) <= set("0123456789abcdef"):
            raise ArtifactError(f"{sha[:80]!r} is not the id of an artifact (64 hexadecimal digits)")
        return self.root / sha


class Incoming:
    """An artifact on its way in. Left without `commit`, it leaves no trace."""

    def __init__(self, target: Path, sha: str) -> None:
        self._target = target
        self._sha = sha
        # Beside its target, so that the rename stays within one file system and is atomic.
        self.folder = Path(tempfile.mkdtemp(prefix=".incoming-", dir=target.parent))

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()

    def write(self, name: str, chunk: bytes | memoryview) -> None:
        """Append a chunk to a file; chunks of a file come in their order. ArtifactError if the disk refuses."""
        artifact.check_file_name(name)
        try:
            with (self.folder / name).open("ab") as file:
                file.write(chunk)
        except OSError as error:
            raise ArtifactError(f"cannot store {name} of artifact {self._sha[:12]}…: {error.strerror}") from None

    def commit(self) -> Path:
        """Check every byte and make the artifact appear; ArtifactError names the file that is not what it should be."""
        manifest = artifact.verify(self.folder, self._sha)
        for path in self.folder.iterdir():
            if path.name != artifact.MANIFEST and path.name not in manifest.files:
                raise ArtifactError(f"{path.name} is not in the manifest of artifact {self._sha[:12]}…")
        try:
            self.folder.rename(self._target)
        except OSError:
            if not self._target.is_dir():  # else another process was first with the same bytes
                raise
        return self._target

    def discard(self) -> None:
        """Delete what has come so far; nothing happens after `commit`."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
