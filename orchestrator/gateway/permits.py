"""Who may ask what: bearer tokens, each with the models that it opens. The file holds their SHA-256, not the tokens.

    tokens:
      - {name: dashboard, sha256: 9f86d0…, models: [classify]}
      - {name: operations, sha256: 60303a…, models: all, loads: true}
      - {name: partner, sha256: 2c26b4…, models: [classify], rate: 50, requests: 8, streams: 1}

A client sends `Authorization: Bearer TOKEN`, as an HTTP header or in a call's metadata (RFC 6750).
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.errors import SpecError
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.limits import Gate, Limits
from orchestrator.topology_spec import NAME
from orchestrator.yaml_file import StrictModel, check, read_yaml

SCHEME = "bearer "
Name = Annotated[str, Field(pattern=NAME)]


class TokenModel(StrictModel):
    """One entry of `tokens`."""

    name: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    models: Literal["all"] | list[Name] = "all"
    loads: bool = False
    rate: Annotated[float, Field(gt=0)] | None = None
    requests: Annotated[int, Field(ge=1)] | None = None
    streams: Annotated[int, Field(ge=1)] | None = None


class TokensModel(StrictModel):
    """The whole file."""

    tokens: Annotated[list[TokenModel], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """What one client may do. `models` None: ask all of them; `loads`: change what runs; `limits`: how much."""

    name: str = ""
    models: frozenset[str] | None = None
    loads: bool = False
    limits: Limits = field(default_factory=Limits)

    def opens(self, model: str) -> bool:
        """Whether the model may be asked."""
        return self.models is None or model in self.models

    def check(self, model: str) -> None:
        """Refused if it may not be, whether or not there is one of that name."""
        if not self.opens(model):
            raise Refused(Fault.FORBIDDEN, f"token {self.name!r} does not open model {model!r}")

    def check_loads(self, model: str) -> None:
        """Refused unless the model may be loaded and unloaded."""
        self.check(model)
        if not self.loads:
            raise Refused(Fault.FORBIDDEN, f"token {self.name!r} may not load and unload models")

    def check_memory(self) -> None:
        """Refused unless all models may be asked: regions are everybody's."""
        if self.models is not None:
            raise Refused(Fault.FORBIDDEN, f"token {self.name!r} may not use shared memory; it opens some models only")


ANYBODY = Permit(loads=True)


class Permits:
    """All tokens; without any, everybody may do everything."""

    def __init__(self, by_digest: dict[str, Permit] | None = None) -> None:
        self._by_digest = by_digest

    @property
    def are_open(self) -> bool:
        """Whether nobody is asked for a token."""
        return self._by_digest is None

    def of(self, authorization: str | None) -> Permit:
        """What the sender of this header may do. Refused for none, or for a token that is not known."""
        if self._by_digest is None:
            return ANYBODY
        if authorization is None or not authorization.lower().startswith(SCHEME):
            raise Refused(Fault.UNAUTHENTICATED, "a token is needed: send Authorization: Bearer TOKEN")
        digest = sha256(authorization[len(SCHEME) :].strip().encode()).hexdigest()
        found = [permit for known, permit in self._by_digest.items() if hmac.compare_digest(known, digest)]
        if not found:
            raise Refused(Fault.UNAUTHENTICATED, "the token is not known here")
        return found[0]

    def admit(self, authorization: str | None, gate: Gate, address: str, now_s: float) -> Permit:
        """The same, and whoever guesses is held to what an address without a token may ask."""
        try:
            return self.of(authorization)
        except Refused:
            with gate.request("", address, Limits(), now_s):
                raise


def read_permits(path: Path) -> Permits:
    """The tokens in a file. SpecError, in one line, for a fault."""
    model = check(TokensModel, read_yaml(path), where=str(path))
    permits: dict[str, Permit] = {}
    for number, one in enumerate(model.tokens):
        if one.sha256 in permits:
            raise SpecError(f"{path}: tokens[{number}].sha256: is that of {permits[one.sha256].name!r} too")
        models = None if one.models == "all" else frozenset(one.models)
        limits = Limits(rate_per_s=one.rate, requests=one.requests, streams=one.streams)
        permits[one.sha256] = Permit(name=one.name, models=models, loads=one.loads, limits=limits)
    return Permits(permits)
