"""What a stage keeps of each sequence between its steps: its state and the inputs that were given once.

Pure: times come in. A step names its sequence and its place in it, and runs only where the state is that of the step
before: a step at 0 begins with zeros, one that brings state along begins with that, whatever was here. Anything else
is SequenceLost, which is no harm: the router has the state made anew (orchestrator/sequences.py). So what is here may
be forgotten at any time, and is, for room: the sequence that was silent longest goes first.

A step that runs twice is as good as one that ran once: routers never give a place of a sequence to other inputs.
Runs and forgetting may come from two threads.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput, SequenceLost
from nodes.held import zeros
from nodes.stage_spec import StageSpec


@dataclass(frozen=True, slots=True)
class _Record:
    """A sequence as of the step before `expected`."""

    expected: int
    arrays: Mapping[str, Array]
    nbytes: int
    at_s: float


class Sequences:
    """The sequences of one stage, whose artifact takes `inputs`."""

    def __init__(self, spec: StageSpec, inputs: Iterable[TensorSpec]) -> None:
        self._spec = spec
        self._where = f"stage {spec.stage!r} of {spec.deployment!r}"
        self._state = tuple(one for one in inputs if one.name in spec.state.values())
        self._own = frozenset((*spec.state.values(), *spec.kept))
        self._records: OrderedDict[str, _Record] = OrderedDict()  # the one silent longest first
        self._nbytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        return self._nbytes

    def recall(self, sequence: str, position: int, given: Mapping[str, Array], rows: int) -> dict[str, Array]:
        """What the step at this position is to be fed beside what it was `given`; a batch has so many `rows`.

        SequenceLost where the state of the step before is not here, BadInput for a step that names no sequence or
        begins one without what is to be kept.
        """
        if not sequence:
            raise BadInput(f"{self._where} keeps state between steps; the request names no sequence")
        if self._own <= given.keys():
            return {}
        if position == 0:
            return self._zeros(sequence, given, rows)
        with self._lock:
            record = self._records.get(sequence)
        if record is None or record.expected != position:
            there = "nothing of it" if record is None else f"what step {record.expected} begins with"
            raise SequenceLost(f"{self._where}: step {position} of sequence {sequence!r} came, while here is {there}")
        return {name: array for name, array in record.arrays.items() if name not in given}

    def _zeros(self, sequence: str, given: Collection[str], rows: int) -> dict[str, Array]:
        missing = [name for name in self._spec.kept if name not in given]
        if missing:
            raise BadInput(f"{self._where}: sequence {sequence!r} begins without {', '.join(missing)}")
        return {
            one.name: zeros([rows if extent is None else extent for extent in one.shape], one.dtype)
            for one in self._state
            if one.name not in given
        }

    def keep(
        self, sequence: str, position: int, fed: Mapping[str, Array], made: Mapping[str, Array], now_s: float
    ) -> None:
        """The step at this position has run: its state is the next one's. Others go where there is no room."""
        arrays = {name: _owned(fed[name]) for name in self._spec.kept}
        arrays |= {given: _owned(made[name]) for name, given in self._spec.state.items()}
        record = _Record(position + 1, arrays, sum(array.nbytes for array in arrays.values()), now_s)
        with self._lock:
            self._drop(sequence)
            self._records[sequence] = record
            self._nbytes += record.nbytes
            while len(self._records) > 1 and self._is_full():
                self._drop(next(iter(self._records)))

    def end(self, sequence: str) -> None:
        """Its last step has run."""
        with self._lock:
            self._drop(sequence)

    def forget_idle(self, now_s: float) -> None:
        """Let go of those that have been silent for too long."""
        with self._lock:
            while self._records:
                oldest, record = next(iter(self._records.items()))
                if now_s - record.at_s <= self._spec.idle_s:
                    return
                self._drop(oldest)

    def _is_full(self) -> bool:
        return len(self._records) > self._spec.most_sequences or self._nbytes > self._spec.sequence_bytes

    def _drop(self, sequence: str) -> None:
        record = self._records.pop(sequence, None)
        if record is not None:
            self._nbytes -= record.nbytes


def _owned(array: Array) -> Array:
    """The array itself if nothing larger lives on with it: neither a frame that it came in, nor a batch."""
    return array if array.flags.owndata else array.copy()
