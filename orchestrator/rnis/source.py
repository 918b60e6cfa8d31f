"""One UE's link as the radio network sees it: asked once a second, and at once when something has happened to the UE.

Notifications carry no throughput: they only say that what was measured may no longer hold. They are a gain, not a
need: without a callback, or where the service refuses subscriptions, asking goes on.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from nodes.errors import NotAuthorised
from nodes.tls import own_identity, server_context
from orchestrator.network import Observation
from orchestrator.rnis.client import RnisBusy, RnisClient, RnisRefused
from orchestrator.rnis.listener import Listener
from orchestrator.rnis.messages import SUBSCRIPTIONS, Notification, RadioFigures, RnisError, Subscription
from partitioner.topology import NodeId

EVERY_S = 1.0
SOONEST_S = 0.1  # between two looks, however much happens
LONGEST_S = 30.0  # between two tries while the service is gone
CHECK_S = 60.0  # between two checks that subscriptions are still held
STD = 0.25  # of a mean over an unknown period, seen from the base station; relative


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioLink:
    """A link whose `source` is a UE and whose `target` lies behind the base station. `ue` is its IPv4 address there.

    `propagation_s` is believed each way where the service tells no delay. `callback` is HOST:PORT to be told at, which
    the service must reach; None: it is only asked.
    """

    source: NodeId
    target: NodeId
    url: str
    ue: str
    propagation_s: float | None = None
    token: str | None = None
    callback: str | None = None


class RnisSource:
    """Asks `client` about one link. `fault` says in one line why nothing is known, None while all is well."""

    def __init__(self, client: RnisClient, link: RadioLink, *, callback: str | None = None) -> None:
        self._client = client
        self._link = link
        self._callback = callback
        self._held: dict[str, Subscription] = {}
        self._news: deque[Notification] = deque()
        self._due_s, self._barred_s, self._check_s = 0.0, 0.0, 0.0
        self._wait_s = EVERY_S
        self._lock = threading.Lock()  # a look may still be under way when it is closed
        self._is_closed = False
        self.fault: str | None = None

    @property
    def due_s(self) -> float:
        """When `look` has something to do again, unless news comes first."""
        return self._barred_s if self._news else self._due_s

    def heard(self, told: Notification) -> None:
        """Take in a notification, from any thread: it is acted on by the next `look`."""
        if told.kind == "Expiry" or (told.kind in SUBSCRIPTIONS and (not told.ues or self._link.ue in told.ues)):
            self._news.append(told)

    def look(self, now_s: float) -> tuple[Observation, ...]:
        """Both directions as measured now; none while it is not due or nothing is known. Blocks on the network."""
        with self._lock:
            return () if self._is_closed or now_s < self.due_s else self._look(now_s)

    def close(self) -> None:
        """Cancel what is subscribed, as far as the service can still be reached; nothing is asked any more."""
        with self._lock:
            self._is_closed = True
            for held in self._held.values():
                with suppress(RnisError):
                    self._client.cancel(held)

    def _look(self, now_s: float) -> tuple[Observation, ...]:
        expiring = []
        while self._news:
            expiring.append(self._news.popleft().subscription)
        self._barred_s = now_s + SOONEST_S
        try:
            self._keep_subscribed(now_s, expiring)
            found = self._client.layer2_meas(self._link.ue)
        except RnisError as error:
            self._fail(error, now_s)
            return ()
        self.fault = None if found else f"RNIS {self._client.url} knows no UE {self._link.ue}"
        self._wait_s, self._due_s = EVERY_S, now_s + EVERY_S
        best_up = max((one.up for one in found), key=_rate, default=RadioFigures())
        best_down = max((one.down for one in found), key=_rate, default=RadioFigures())
        forth, back = (self._link.source, self._link.target), (self._link.target, self._link.source)
        seen = (self._observation(*forth, best_up, now_s), self._observation(*back, best_down, now_s))
        return tuple(one for one in seen if one is not None)

    def _observation(self, source: NodeId, target: NodeId, figures: RadioFigures, now_s: float) -> Observation | None:
        if not figures.bytes_per_s or figures.discarded >= 1:
            return None
        return Observation(
            source=source,
            target=target,
            bytes_per_s=figures.bytes_per_s * (1 - figures.discarded),
            propagation_s=self._link.propagation_s if figures.delay_s is None else figures.delay_s,
            std=STD,
            at_s=now_s,
            origin="rnis",
        )

    def _fail(self, error: RnisError, now_s: float) -> None:
        """Ask more and more seldom, or when the service said."""
        self.fault = str(error)
        retry_s = error.retry_s if isinstance(error, RnisBusy) else 0.0
        self._due_s = now_s + max(self._wait_s, retry_s)
        self._barred_s = now_s + max(SOONEST_S, retry_s)
        self._wait_s = min(self._wait_s * 2, LONGEST_S)

    def _keep_subscribed(self, now_s: float, expiring: list[str | None]) -> None:
        """Have every kind of notification, renewing those that expire. A refusal leaves it for the next check."""
        if self._callback is None:
            return
        is_due = now_s >= self._check_s
        if is_due:
            self._check_s = now_s + CHECK_S
        for kind in SUBSCRIPTIONS:
            held = self._held.get(kind)
            if is_due or (held is not None and held.number in expiring):
                try:
                    self._renew(kind, held, self._callback)
                except RnisError as error:
                    if isinstance(error, RnisBusy) or not isinstance(error, RnisRefused):
                        self._check_s = now_s  # not answered yet: again with the next look
                        raise
                    self._held.pop(kind, None)

    def _renew(self, kind: str, held: Subscription | None, callback: str) -> None:
        if held is not None:
            try:
                self._client.renew(held, callback, self._link.ue)
                return
            except RnisRefused as refused:
                if refused.status != 404:
                    raise
        made = self._client.subscribe(kind, callback, self._link.ue)
        self._held[kind] = Subscription(number=made.number, kind=kind)


async def follow(
    link: RadioLink, tell: Callable[[Observation], None], fault: Callable[[str | None], None] = lambda fault: None
) -> None:
    """Tell of a link's observations until cancelled, and after each look of the source's fault.

    Never fails because of the service. RnisError for an address that is none or a certificate that would not serve,
    OSError if it can't listen.
    """
    loop, wake = asyncio.get_running_loop(), asyncio.Event()

    def heard(told: Notification) -> None:
        source.heard(told)
        loop.call_soon_threadsafe(wake.set)

    listener = _listener(link.callback, heard, secure=link.url.startswith("https:"))
    source = RnisSource(
        RnisClient(link.url, token=link.token), link, callback=None if listener is None else listener.callback
    )
    try:
        while True:
            for observation in await asyncio.to_thread(source.look, time.time()):
                tell(observation)
            fault(source.fault)
            wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), max(source.due_s - time.time(), 0.0))
    finally:
        if listener is not None:
            await asyncio.to_thread(listener.close)
        await asyncio.to_thread(source.close)


def _listener(callback: str | None, heard: Callable[[Notification], None], *, secure: bool) -> Listener | None:
    """Under TLS, if this process has a certificate and the service is asked under it, too; it need show none."""
    if callback is None:
        return None
    host, _, port = callback.rpartition(":")
    own = own_identity() if secure else None
    try:
        context = None if own is None else server_context(replace(own, ca=None))
    except NotAuthorised as error:
        raise RnisError(f"RNIS callback {callback}: {error}") from None
    return Listener(heard, host=host, port=int(port), context=context)


def _rate(figures: RadioFigures) -> float:
    return figures.bytes_per_s or 0.0
