"""Makes a certificate authority for tests and closed networks, and a folder for each node that is to be believed.

    FOLDER/ca.pem, ca.key     the authority; the key stays where it was made
    FOLDER/NAME/              ca.pem, cert.pem, key.pem: what ISTHMUS_TLS names on that node

A certificate serves both ways, to be dialled and to dial. It names the hosts and addresses at which its node is
dialled. Nothing that exists is written over unless it is to be renewed; there are no lists of revoked certificates.
"""

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterError, SpecError

CA_DAYS = 3650
HERE = ("localhost", "127.0.0.1", "::1")  # named by every certificate: a node may always speak to itself
EARLIER = timedelta(minutes=5)  # that clocks may differ by
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
SECRET, PUBLIC = 0o600, 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A node and the hosts and addresses at which it is dialled, beside its name and this machine's own."""

    name: str
    hosts: tuple[str, ...] = ()


def wanted_of(word: str) -> Wanted:
    """NAME or NAME=HOST,HOST… as a command line has it; SpecError for what is neither."""
    name, _, hosts = word.partition("=")
    found = Wanted(name=name, hosts=tuple(host for host in hosts.split(",") if host))
    for host in (name, *found.hosts):
        if _address(host) is None and NAME.fullmatch(host) is None:
            raise SpecError(f"{word!r}: {host!r} is no name and no address; give NAME=HOST,HOST, as in edge=10.0.0.2")
    if name in (".", "..") or _address(name) is not None:
        raise SpecError(f"{word!r}: a node needs a name; give NAME={name}")
    return found


def certify(folder: Path, nodes: Sequence[Wanted], *, days: float, now: datetime, renew: bool = False) -> list[Path]:
    """Make the authority, if it is not there, and each node's folder; the folders.

    SpecError, with nothing made, for a node that has one already (`renew`: it gets a new certificate); ClusterError
    without the package.
    """
    held = [node.name for node in nodes if (folder / node.name / "cert.pem").exists()]
    if held and not renew:
        raise SpecError(f"{folder / held[0]} is there; keep it, or give --renew for a new certificate and key")
    x509 = _x509()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = _authority(folder, now)
    return [_certify(folder, node, authority, x509, now, timedelta(days=days)) for node in nodes]


def _x509() -> Any:
    try:
        from cryptography import x509
    except ImportError:
        raise ClusterError("certificates need cryptography: pip install 'isthmus[security]'") from None
    return x509


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _authority(folder: Path, now: datetime) -> tuple[Any, Any]:
    """The authority's certificate and key, made if neither is there."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() or key.exists():
        try:
            held = serialization.load_pem_private_key(key.read_bytes(), None)
            return x509.load_pem_x509_certificate(certificate.read_bytes()), held
        except OSError as error:
            raise SpecError(
                f"{error.filename}: {error.strerror}; give a new folder, or where the CA is whole"
            ) from None
        except (ValueError, TypeError):
            raise SpecError(f"{certificate} and {key} are no CA made here; give a new folder") from None
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "isthmus CA")])
    builder = _builder(name, name, made.public_key(), now, timedelta(days=CA_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    signed = _signed(builder, made, made.public_key())
    _write(key, _private(made), SECRET)
    _write(certificate, _pem(signed), PUBLIC)
    return signed, made


def _certify(
    folder: Path, node: Wanted, authority: tuple[Any, Any], x509: Any, now: datetime, valid: timedelta
) -> Path:
    from cryptography.hazmat.primitives.asymmetric import ec

    issuer, signer = authority
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, node.name)])
    hosts = [(host, _address(host)) for host in dict.fromkeys((node.name, *node.hosts, *HERE))]
    names = [x509.DNSName(host) if address is None else x509.IPAddress(address) for host, address in hosts]
    both = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(subject, issuer.subject, key.public_key(), now, valid)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    place = folder / node.name
    place.mkdir(exist_ok=True, mode=0o700)
    _write(place / "ca.pem", _pem(issuer), PUBLIC)
    _write(place / "key.pem", _private(key), SECRET)
    _write(place / "cert.pem", _pem(_signed(builder, signer, signer.public_key())), PUBLIC)
    return place


def _builder(subject: Any, issuer: Any, public: Any, now: datetime, valid: timedelta) -> Any:
    from cryptography import x509

    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - EARLIER).not_valid_after(now + valid)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _usage(*, signs_certificates: bool) -> Any:
    from cryptography import x509

    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs_certificates, crl_sign=signs_certificates, **others
    )


def _signed(builder: Any, signer: Any, issuer: Any) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
    return builder.add_extension(known, critical=False).sign(signer, hashes.SHA256())


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _private(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    how = serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, readable by nobody else meanwhile."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(fresh, path)
