"""Certificates for tests: folders as `isthmus certificates` makes them, good, expired and of other CAs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from nodes.tls import Identity
from orchestrator.certificates import Wanted, certify

DAY = timedelta(days=1)


def certified(folder: Path, *names: str, hosts: tuple[str, ...] = (), ago_days: float = 0, renew: bool = False) -> None:
    """A folder in `folder` for each name, made so many days ago and valid for two."""
    made = datetime.now(UTC) - DAY * ago_days
    certify(folder, [Wanted(name=name, hosts=hosts) for name in names], days=2, now=made, renew=renew)


def identity(folder: Path) -> Identity:
    """What lies in a node's folder, unchecked."""
    return Identity(cert=folder / "cert.pem", key=folder / "key.pem", ca=folder / "ca.pem")
