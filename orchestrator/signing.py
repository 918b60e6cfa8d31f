"""Models signed with Ed25519: MODEL.sig beside a model says who answers for its bytes and those of its weights.

What is signed is one line for the model and one for each file of weights that it names, with their SHA-256; so a model
may be renamed or moved with its files, and nothing in them changed. Where ISTHMUS_TRUSTED_KEYS names a folder of
public keys (*.pub), or one such file, models without a signature by one of them are refused before they are read any
further. What is made of a model later (normalised, cut) is not signed again: artifact.py's hashes hold from there on.
"""

import base64
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodes.artifact import hash_file
from orchestrator.errors import ClusterError, SpecError

VARIABLE = "ISTHMUS_TRUSTED_KEYS"
FORM = "isthmus model signature 1"
SUFFIX = ".sig"


def signature_of(model: Path) -> Path:
    """Where a model's signature lies."""
    return model.with_name(model.name + SUFFIX)


def sign(model: Path, key: Path) -> Path:
    """Sign a model with a private key's file; the signature's. SpecError for a model or key that can't be read."""
    private = _private(key)
    path = signature_of(model)
    signed = base64.b64encode(private.sign(_statement(model))).decode()
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(f"{FORM}\nkey {_name(private.public_key())}\nsignature {signed}\n")
    os.replace(fresh, path)
    return path


def create_key(path: Path) -> Path:
    """Make a private key and, beside it, its public one; that one's path. SpecError where either is there."""
    ed25519, serialization = _cryptography()
    public = public_of(path)
    for held in (path, public):
        if held.exists():
            raise SpecError(f"{held} is there; sign with it, or name another for the new key")
    made = ed25519.Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public


def public_of(key: Path) -> Path:
    """Where the public key of a private key's file lies."""
    return key.with_name(f"{key.stem}.pub" if key.suffix == ".key" else f"{key.name}.pub")


def check_trusted(model: Path) -> None:
    """Nothing where no keys are named; else SpecError unless one of them signed the model as it is."""
    trusted = os.environ.get(VARIABLE)
    if trusted:
        verify(model, Path(trusted))


def verify(model: Path, trusted: Path) -> None:
    """SpecError, with the way out, unless a key in `trusted` (a file, or a folder of *.pub) signed this model."""
    keys = {_name(key): key for key in _trusted(trusted)}
    path = signature_of(model)
    try:
        lines = path.read_text().split("\n")
    except (OSError, ValueError):
        raise SpecError(
            f"{model}: is not signed ({path.name} is not there); isthmus sign {model.name} --key KEY"
        ) from None
    facts = dict(line.split(" ", 1) for line in lines[1:] if " " in line)
    if lines[0] != FORM or not {"key", "signature"} <= facts.keys():
        raise SpecError(f"{path}: is no signature made by isthmus sign; sign the model again")
    if facts["key"] not in keys:
        raise SpecError(
            f"{model}: is signed by key {facts['key'][:40]}, which is not trusted; add its .pub to {trusted}"
        )
    from cryptography.exceptions import InvalidSignature

    try:
        keys[facts["key"]].verify(base64.b64decode(facts["signature"], validate=True), _statement(model))
    except (InvalidSignature, ValueError):
        raise SpecError(
            f"{model}: is not what was signed: it, its weights or {path.name} changed; restore it, or sign it again"
        ) from None


def _statement(model: Path) -> bytes:
    lines = [FORM, f"{_hash(model, model)} model"]
    lines += [f"{_hash(model.parent / name, model)} {name}" for name in sorted(set(_weights(model)))]
    return "\n".join(lines).encode()


def _hash(path: Path, model: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise SpecError(f"{model}: {path.name}: {error.strerror}; put the model beside all its weights") from None


def _weights(model: Path) -> Iterator[str]:
    """The files of weights that a model names, wherever in it."""
    import onnx

    try:
        proto = onnx.load(model, load_external_data=False)
    except Exception as error:  # protobuf's own DecodeError, which ships no types
        raise SpecError(f"{model}: is not an ONNX file ({type(error).__name__})") from None
    for tensor in _tensors(proto, onnx.TensorProto):
        for entry in tensor.external_data:
            if entry.key == "location":
                if Path(entry.value).is_absolute() or ".." in Path(entry.value).parts:
                    raise SpecError(f"{model}: weights lie outside its folder, in {entry.value}")
                yield entry.value


def _tensors(proto: Any, kind: type[Any]) -> Iterator[Any]:
    """Every tensor in a message, in bodies, functions and attributes too."""
    if isinstance(proto, kind):
        yield proto
        return
    for field, value in proto.ListFields():
        if field.message_type is not None:
            for one in (value,) if hasattr(value, "ListFields") else value:
                yield from _tensors(one, kind)


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ClusterError("signatures need cryptography: pip install 'isthmus[security]'") from None
    return ed25519, serialization


def _private(path: Path) -> Any:
    ed25519, serialization = _cryptography()
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise SpecError(f"--key {path}: {error.strerror}; make one with --create") from None
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, ed25519.Ed25519PrivateKey):
        raise SpecError(f"--key {path}: is no private key of Ed25519; make one with --create")
    return found


def _trusted(path: Path) -> Iterator[Any]:
    ed25519, serialization = _cryptography()
    files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
    if not files:
        raise SpecError(f"{path}: holds no public key (*.pub), so no model is trusted; put one there")
    for file in files:
        try:
            found = serialization.load_pem_public_key(file.read_bytes())
        except OSError as error:
            raise SpecError(f"{file}: {error.strerror}; name a folder of public keys, or one") from None
        except ValueError:
            found = None
        if not isinstance(found, ed25519.Ed25519PublicKey):
            raise SpecError(f"{file}: is no public key of Ed25519; isthmus sign --create makes such")
        yield found


def _name(public: Any) -> str:
    _, serialization = _cryptography()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return sha256(raw).hexdigest()[:16]
