"""Whether a peer shares this host's memory, and how two ends of a stream agree on using it.

Each end offers memory for what it sends, in the metadata of the call; who opens what it was offered says so within
that memory. A peer that doesn't know the key offers and opens nothing. Only peers whose address is this host's own, in
its own network namespace, are offered any: what crosses a wire, or what the kernel emulates between namespaces, stays
on it. What it emulates on loopback itself (`tc netem` on `lo`) is passed by: ISTHMUS_SHARED_MEMORY=0 keeps all on it.
"""

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import unquote

from nodes.placing import Placing
from nodes.shared_memory import Pool, opened, wanted

MEMORY = "isthmus-memory"


class Sharing:
    """One end's part in agreeing: what it `offer`s, and, once the other's offer is known, the `Placing` of both."""

    def __init__(self, peer_address: str) -> None:
        """With a peer at host:port, or as gRPC names one: ipv4:host:port."""
        self._pool: Pool | None = None
        if wanted() and is_own(host_of(peer_address)):
            with suppress(OSError):
                self._pool = Pool()
        self.offer = "" if self._pool is None else self._pool.offer

    def taken(self, offer: str) -> Placing | None:
        """With what the peer offered; None where nothing is shared."""
        return None if self._pool is None or not offer else Placing(self._pool, opened(offer))


def host_of(address: str) -> str:
    """The host in an address, as people write it or as gRPC does."""
    kind, _, rest = address.partition(":")
    if kind in ("ipv4", "ipv6", "dns"):
        address = unquote(rest).removeprefix("///")
    return address.rpartition(":")[0].strip("[]")


def is_own(host: str) -> bool:
    """Whether packets to this address never leave the host; a name other than localhost counts as another's."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing: the kernel chooses what it would send from
        return bool(ipaddress.ip_address(probe.getsockname()[0]) == address)
    return False
