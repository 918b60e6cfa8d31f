"""The codecs worth considering for each tensor, as flat arrays: what a program that chooses codecs has columns for."""

from dataclasses import dataclass

import numpy as np

from partitioner.tables import Floats, Ints, Prices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forms:
    """A tensor under a codec each: `first[t]`…`first[t + 1]` are those of tensor t. Seconds unslowed."""

    tensor: Ints
    codec: Ints
    nbytes: Floats
    encode_s: Floats
    decode_s: Floats
    error: Floats
    first: Ints

    def of(self, tensors: Ints, count: int) -> Ints:
        """[tensor, choice]: the forms of tensors that have `count` of them each."""
        return self.first[tensors][:, None] + np.arange(count, dtype=np.int64)

    def counts(self, tensors: Ints) -> Ints:
        """How many forms each tensor has."""
        return np.asarray(self.first[tensors + 1] - self.first[tensors])


def forms_of(prices: Prices) -> Forms:
    """Every admissible codec of every tensor that is read or returned, but for those that another beats in all."""
    table, codecs, rows = prices.table, prices.codecs, []
    raw = table.raw_bytes.astype(np.float64)
    first = np.zeros(len(raw) + 1, dtype=np.int64)
    sent = np.zeros(len(raw), dtype=np.bool_)
    sent[table.read_tensor] = sent[table.outputs] = True
    for tensor in range(len(raw)):
        kept: list[tuple[float, ...]] = []
        for codec in np.flatnonzero(codecs.admissible[:, tensor]).tolist() if sent[tensor] else ():
            own = (
                float(codecs.coded_bytes[codec, tensor]),
                float(raw[tensor] * codecs.encode_s_per_byte[codec, tensor]),
                float(raw[tensor] * codecs.decode_s_per_byte[codec, tensor]),
                _error(prices, tensor, codec),
            )
            kept = [one for one in kept if not all(a <= b for a, b in zip(own, one[1:], strict=True)) or own == one[1:]]
            if not any(all(a <= b for a, b in zip(one[1:], own, strict=True)) for one in kept):
                kept.append((codec, *own))
        rows += [(tensor, *one) for one in kept]
        first[tensor + 1] = len(rows)
    columns = np.array(rows, dtype=np.float64).reshape(-1, 6).T
    return Forms(
        tensor=columns[0].astype(np.int64),
        codec=columns[1].astype(np.int64),
        nbytes=columns[2],
        encode_s=columns[3],
        decode_s=columns[4],
        error=columns[5],
        first=first,
    )


def _error(prices: Prices, tensor: int, codec: int) -> float:
    """What only a limit on the error asks for: without one, no codec is kept for its error alone."""
    if not codec or prices.problem.limits.error is None:
        return 0.0
    figure = prices.problem.profile.tensors.get(prices.table.names[tensor], {}).get(prices.codecs.names[codec])
    return 0.0 if figure is None else figure.error
