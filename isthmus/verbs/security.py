"""`isthmus certificates` and `isthmus sign`: who a machine is, and who answers for a model."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from isthmus.terminal import show, show_json


def make_certificates(folder: Path, nodes: Sequence[str], *, days: float, renew: bool, as_json: bool) -> None:
    """A test CA in `folder`, if it has none yet, and a folder for each node given as NAME or NAME=HOST,HOST…"""
    from orchestrator.certificates import certify, wanted_of

    wanted = [wanted_of(node) for node in nodes]
    made = certify(folder, wanted, days=days, now=datetime.now(UTC), renew=renew)
    if as_json:
        show_json({"ca": str(folder / "ca.pem"), "nodes": {path.name: str(path) for path in made}})
        return
    for path in made:
        show(f"{path}: copy it to {path.name}, and set ISTHMUS_TLS to where it lies there")


def sign_model(model: Path | None, key: Path, *, create: bool, as_json: bool) -> None:
    """Make a key, sign a model with it, or both."""
    from orchestrator.signing import create_key, sign

    public = create_key(key) if create else None
    signature = None if model is None else sign(model, key)
    if as_json:
        show_json({"signature": signature, "public_key": public})
        return
    if public is not None:
        show(f"{public}: who trusts this key keeps it in the folder that ISTHMUS_TRUSTED_KEYS names")
    if signature is not None:
        show(f"{signature}: keep it beside {model}")
