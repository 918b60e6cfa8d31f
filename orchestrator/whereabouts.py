"""Where each node's worker was last reached, kept on disk for the controller that comes after this one.

After a head's death hosts return to Ray one after the other, while their workers never stopped answering. This tells
where to ask for them meanwhile. It asks nobody itself, and what it tells may be out of date.
"""

import json
from pathlib import Path

from partitioner.topology import NodeId


class Whereabouts:
    """Addresses (HOST:PORT) by node, in a file of JSON; with no file they are only remembered."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._addresses: dict[NodeId, str] = {}
        self._is_kept = True
        if path is not None and path.exists():
            self._addresses = _read(path)

    def last(self, node: NodeId) -> str | None:
        """Where the node's worker was when it was last claimed."""
        return self._addresses.get(node)

    def note(self, node: NodeId, address: str) -> None:
        """The node's worker was claimed there. On a full disk that is kept for the next time something is noted."""
        if self._addresses.get(node) != address:
            self._addresses[node] = address
            self._is_kept = False
        if not self._is_kept:
            self._write()

    def clear(self) -> None:
        """No worker is left."""
        self._addresses.clear()
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        written = self._path.with_name(f".{self._path.name}.new")
        try:
            written.write_text(json.dumps(self._addresses))
            written.replace(self._path)
        except OSError:
            self._is_kept = False  # workers are worth more than the note of where they are
        else:
            self._is_kept = True


def _read(path: Path) -> dict[NodeId, str]:
    """What was kept; nothing where the file is torn, since hosts that come back tell it again."""
    try:
        kept = json.loads(path.read_text())
    except json.JSONDecodeError:
        return {}
    return {str(node): str(address) for node, address in kept.items()}
