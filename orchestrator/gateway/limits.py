"""What one client may take of a gateway, and all of them together: requests a second, requests and streams, bytes.

Pure: time comes in. A client is the name of its token; where nobody is asked for one, it is the address it comes from.
Rates are token buckets: a client that was quiet may send one second's worth at once. Whoever goes beyond is refused
with when to come again, which costs nobody else a thing.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from orchestrator.gateway.faults import Fault, Refused

MOST_UNDER_WAY_BYTES = 2_048_000_000  # of bodies, over all connections
MANY = 4096  # clients remembered before those that are quiet are forgotten
AGAIN_S = 0.1  # when to come again where that depends on when others end
STREAM_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """One client's: None is no limit. `requests` and `streams` are those under way at once."""

    rate_per_s: float | None = None
    requests: int | None = None
    streams: int | None = None

    def or_else(self, others: "Limits") -> "Limits":
        """These, and where there is none the others'."""
        mine = {one.name: getattr(self, one.name) for one in fields(self)}
        return Limits(**{name: getattr(others, name) if value is None else value for name, value in mine.items()})


@dataclass(slots=True)
class _Client:
    filled: float
    seen_s: float
    requests: int = 0
    streams: int = 0


@dataclass(slots=True)
class Gate:
    """Counts what is under way. `limits` are those of clients whose token names none."""

    limits: Limits = field(default_factory=Limits)
    most_bytes: int = MOST_UNDER_WAY_BYTES
    under_way_bytes: int = 0
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # by token ("" without one) and limit
    most_connections: int | None = None  # of one address
    _clients: dict[tuple[str, str], _Client] = field(default_factory=dict)
    _connections: Counter[str] = field(default_factory=Counter)
    _swept_s: float = float("-inf")

    def enter(self, address: str) -> bool:
        """Whether one more connection may come from there; each that may has to `leave`."""
        if self.most_connections is not None and self._connections[address] >= self.most_connections:
            self.refused["", "connections"] += 1
            return False
        self._connections[address] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection from there has ended."""
        self._connections[address] -= 1
        if not self._connections[address]:
            del self._connections[address]

    @contextmanager
    def request(self, token: str, address: str, own: Limits, now_s: float) -> Iterator[None]:
        """Around one request. Refused beyond the client's rate or its requests under way."""
        limits = own.or_else(self.limits)
        if limits.rate_per_s is None and limits.requests is None:
            yield
            return
        client = self._client(token, address, limits, now_s)
        if limits.requests is not None and client.requests >= limits.requests:
            raise self._refuse(token, "requests", f"{limits.requests} requests are under way", AGAIN_S)
        self._take(client, token, limits, now_s)
        client.requests += 1
        try:
            yield
        finally:
            client.requests -= 1

    @contextmanager
    def stream(self, token: str, address: str, own: Limits, now_s: float) -> Iterator[None]:
        """Around one stream, whose requests each are counted too."""
        limits = own.or_else(self.limits)
        if limits.streams is None:
            yield
            return
        client = self._client(token, address, limits, now_s)
        if client.streams >= limits.streams:
            raise self._refuse(token, "streams", f"{limits.streams} streams are open", STREAM_S)
        client.streams += 1
        try:
            yield
        finally:
            client.streams -= 1

    def hold(self, nbytes: int) -> None:
        """Of a body, that much came. Refused where there is no room; then nothing is held."""
        if self.under_way_bytes + nbytes > self.most_bytes:
            self.refused["", "bytes"] += 1
            raise Refused(
                Fault.UNAVAILABLE, f"{self.most_bytes:,} bytes of requests are under way here, which is the most"
            )
        self.under_way_bytes += nbytes

    def release(self, nbytes: int) -> None:
        """They are needed no more."""
        self.under_way_bytes -= nbytes

    def _take(self, client: _Client, token: str, limits: Limits, now_s: float) -> None:
        rate = limits.rate_per_s
        if rate is None:
            return
        most = max(1.0, rate)
        client.filled = min(most, client.filled + (now_s - client.seen_s) * rate)
        client.seen_s = now_s
        if client.filled < 1:
            raise self._refuse(token, "rate", f"more than {rate:g} requests a second", (1 - client.filled) / rate)
        client.filled -= 1

    def _client(self, token: str, address: str, limits: Limits, now_s: float) -> _Client:
        key = (token, "" if token else address)
        found = self._clients.get(key)
        if found is None:
            if len(self._clients) >= MANY and now_s - self._swept_s > 1:
                self._forget(now_s)
            found = self._clients[key] = _Client(max(1.0, limits.rate_per_s or 0.0), now_s)
        return found

    def _forget(self, now_s: float) -> None:
        """Addresses whose buckets are full again, as new ones' are. Tokens are few."""
        self._swept_s = now_s
        slowest_s = max(1.0, 1 / (self.limits.rate_per_s or 1.0))
        quiet = [
            key
            for key, client in self._clients.items()
            if not key[0] and not client.requests and not client.streams and now_s - client.seen_s > slowest_s
        ]
        for key in quiet:
            del self._clients[key]

    def _refuse(self, token: str, limit: str, what: str, retry_s: float) -> Refused:
        self.refused[token, limit] += 1
        whose = f"token {token!r}" if token else "your address"
        return Refused(Fault.TOO_MANY, f"{what}, which is the most for {whose}", retry_s=retry_s)
