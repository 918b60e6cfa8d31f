"""A node's side of TLS: the folder that ISTHMUS_TLS names, and what servers and channels make of what lies in it.

The folder holds cert.pem and key.pem, which show who this node is, and ca.pem, which says whose certificates count.
Without the variable everything is plain, and costs what it did. Files are read anew for each channel that is opened
and, where they have changed, for each one that comes in: who renews a certificate restarts nothing. No
certificates are made here: `isthmus certificates` does that.
"""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from nodes.errors import NotAuthorised
from nodes.tls_faults import fault_of_files

VARIABLE = "ISTHMUS_TLS"
RENEW = "make it with: isthmus certificates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this side is (`cert`, `key`) and whose certificates it believes (`ca`; None: it asks for none)."""

    cert: Path
    key: Path
    ca: Path | None = None

    def check(self) -> None:
        """NotAuthorised where peers would refuse it: files that are missing or no pair, expired, of another CA."""
        for path in (self.cert, self.key, self.ca):
            if path is not None:
                read(path)
        if (fault := fault_of_files(self.cert, self.key, self.ca)) is not None:
            raise NotAuthorised(f"{self.cert}: {fault}; {RENEW}")

    @property
    def stamp(self) -> tuple[int, ...]:
        """Another one once the files are others."""
        return tuple(part for path in self._paths for part in (path.stat().st_mtime_ns, path.stat().st_ino))

    @property
    def _paths(self) -> tuple[Path, ...]:
        return (self.cert, self.key, *(() if self.ca is None else (self.ca,)))

    def is_sound(self) -> bool:
        """Whether the files as they are now would serve."""
        return all(path.is_file() for path in self._paths) and fault_of_files(self.cert, self.key, self.ca) is None


def identity_in(folder: Path) -> Identity:
    """What lies in a folder as `isthmus certificates` makes them; NotAuthorised if it would not serve."""
    identity = _in(folder)
    identity.check()
    return identity


def own_identity() -> Identity | None:
    """What the environment gives this process; None: everything is plain."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    return _in(Path(folder))


def _in(folder: Path) -> Identity:
    return Identity(cert=folder / "cert.pem", key=folder / "key.pem", ca=folder / "ca.pem")


def read(path: Path) -> bytes:
    """A file's bytes; NotAuthorised, with the way out, if it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotAuthorised(f"{path}: {error.strerror}; {RENEW}, or unset {VARIABLE}") from None


def channel_credentials(identity: Identity) -> grpc.ChannelCredentials:
    """To dial as this node whoever has a certificate of its CA. NotAuthorised for files that can't be read."""
    ca = None if identity.ca is None else read(identity.ca)
    return grpc.ssl_channel_credentials(ca, read(identity.key), read(identity.cert))


def server_credentials(identity: Identity) -> grpc.ServerCredentials:
    """To be dialled as this node; where there is a CA, by holders of its certificates only.

    NotAuthorised for files that would not serve. Files that are renewed are taken up once they are sound.
    """
    identity.check()
    held = identity.stamp

    def made() -> grpc.ServerCertificateConfiguration:
        ca = None if identity.ca is None else read(identity.ca)
        return grpc.ssl_server_certificate_configuration([(read(identity.key), read(identity.cert))], ca)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal held
        try:
            if (stamp := identity.stamp) == held or not identity.is_sound():
                return None
            fresh = made()
        except (OSError, NotAuthorised):  # in the middle of being replaced: the certificate that is held goes on
            return None
        held = stamp
        return fresh

    return grpc.dynamic_ssl_server_credentials(made(), renewed, identity.ca is not None)


def server_context(identity: Identity) -> ssl.SSLContext:
    """The same for servers of Python's own. NotAuthorised likewise."""
    identity.check()
    first, held = _context(identity), identity.stamp
    now = first

    def renew(connection: ssl.SSLObject, _name: str | None, _context_held: ssl.SSLContext) -> None:
        nonlocal now, held
        try:
            if (stamp := identity.stamp) != held and identity.is_sound():
                now, held = _context(identity), stamp
        except OSError:  # in the middle of being replaced
            return
        connection.context = now

    first.sni_callback = renew  # called at the beginning of each handshake, whether or not a name was given
    return first


def client_context() -> ssl.SSLContext:
    """For clients of Python's own: public CAs are believed, and ours; our certificate is shown if asked for."""
    context, identity = ssl.create_default_context(), own_identity()
    if identity is not None and identity.is_sound():
        context.load_cert_chain(identity.cert, identity.key)
        context.load_verify_locations(identity.ca)
    return context


def own_context() -> ssl.SSLContext | None:
    """For servers of Python's own in this process; None: plain. NotAuthorised for files that would not serve."""
    identity = own_identity()
    return None if identity is None else server_context(identity)


def _context(identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(identity.cert, identity.key)
    if identity.ca is not None:
        context.load_verify_locations(identity.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
