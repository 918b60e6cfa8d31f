"""Why TLS does not come about: gRPC says of every fault that a handshake failed, OpenSSL says which.

`fault_of_files` lets one's own certificate be shown to one's own CA, in memory; `fault_of_peer` greets a peer as a
channel does and reads what comes back. Neither is on the way of a request.
"""

import socket
import ssl
from contextlib import suppress
from pathlib import Path

PROBE_S = 1.0
ROUNDS = 8  # of messages to and fro: a handshake takes three
PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
REFUSED = (
    "it does not believe this side's certificate: both need one of the same CA (isthmus certificates), and right clocks"
)
EXPIRED, EARLY, HOST, ADDRESS = 10, 9, 62, 64  # OpenSSL's numbers (X509_V_ERR_…)
UNKNOWN = (2, 18, 19, 20, 21)  # its issuer is not there, or is not believed


def fault_of_files(cert: Path, key: Path, ca: Path | None) -> str | None:
    """What peers would refuse in a certificate, its key and its CA's certificate; None for nothing."""
    shown, seen = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    seen.check_hostname = False
    try:
        shown.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        return f"is no pair with {key.name}" if "MISMATCH" in (error.reason or "") else f"no certificate with {key}"
    except OSError as error:
        return f"can't be read with {key}: {error.strerror}"
    if ca is None:  # bought from a public one: it is its own measure, so that its dates are looked at
        seen.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        seen.load_verify_locations(cert if ca is None else ca)
    except ssl.SSLError:
        return f"{ca or cert} holds no certificate"
    return _met(shown, seen)


def _met(shown: ssl.SSLContext, seen: ssl.SSLContext) -> str | None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        seen.wrap_bio(to_client, to_server, server_side=False),
        shown.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(ROUNDS):
        for end in ends:
            try:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
            except ssl.SSLCertVerificationError as error:
                return _of_certificate(error, "")
            except ssl.SSLError as error:
                return f"does not serve: {error.reason}"
    return None


def fault_of_peer(address: str, cert: Path | None, key: Path | None, ca: Path | None) -> str | None:
    """Why a channel to HOST:PORT can't be had, as a sentence with the way out; None: nobody is there, or nothing.

    Without `cert` this side is one that speaks no TLS. Takes PROBE_S at most for each thing that it waits for.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    context = _greeting(cert, key, ca)
    try:
        with socket.create_connection((host, int(port)), PROBE_S) as plain:
            return _told(context, plain, host, is_plain=cert is None)
    except (OSError, ValueError):  # nobody there, or nobody who answers: gRPC's own words do
        return None


def _greeting(cert: Path | None, key: Path | None, ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    if cert is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    context.load_cert_chain(cert, key)
    if ca is not None:
        context.load_verify_locations(ca)
    return context


def _told(context: ssl.SSLContext, plain: socket.socket, host: str, *, is_plain: bool) -> str | None:
    try:
        with context.wrap_socket(plain, server_hostname=host) as secured:
            if is_plain:
                return "it speaks TLS only, and this side does not: set ISTHMUS_TLS=FOLDER (isthmus certificates)"
            secured.settimeout(PROBE_S)
            return None if secured.recv(1) else REFUSED  # under TLS 1.3 that comes after the handshake, gRPC's silently
    except ssl.SSLCertVerificationError as error:
        return f"its certificate {_of_certificate(error, host)}; make it anew with: isthmus certificates"
    except ssl.SSLError as error:
        if is_plain:
            return None
        if any(part in str(error.reason) for part in PLAIN):
            return "it answers without TLS: start it with --tls FOLDER, or unset ISTHMUS_TLS here"
        return REFUSED if "ALERT" in str(error.reason) else None


def _of_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code == EXPIRED:
        return "has expired"
    if error.verify_code == EARLY:
        return "is not valid yet: compare the clocks"
    if error.verify_code in (HOST, ADDRESS):
        return f"does not name {host}, at which it is dialled"
    if error.verify_code in UNKNOWN:
        return "is of another CA than ca.pem"
    return f"is not believed: {error.verify_message}"
