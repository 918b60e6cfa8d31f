"""Writes a spoken note down while it is spoken, over a link that drops and returns: run it from the repository's root.

python -m examples.voice_notes

An ear on the phone finds phrases, Whisper writes them down where it is fastest. The note is put in as fast as it is
heard, then at the pace of speech: over a link that stays, one that is away for five seconds, and with the cloud's
worker killed; at last each phrase token by token. The plan's picture is written to plan.svg beside this file. It takes
about six minutes on two cores.
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
from rich.console import Console

from examples.spoken_image_search.deployed import picture
from examples.spoken_image_search.stages import parts, planned
from examples.voice_notes.note import NOTE, all_words, right_words
from examples.voice_notes.pipeline import EAR, TOPOLOGY, WRITER, ear, writer
from examples.voice_notes.stream import WITHIN_S, Stream, Written
from examples.voice_notes.tokens import Speller, hearer, sayer
from isthmus import Client
from isthmus.render import plan_picture
from isthmus.zoo import listening
from nodes.backend import Array
from nodes.functions.sound import RATE
from orchestrator.spec import DeploymentSpec

PIECE_S = 0.256
AWAY_S = 5.0
HIDDEN = "hear.sound"  # what crosses between Whisper's encoder and its decoder
SLOWEST = 1e-3  # bytes a second: as good as none


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a note: its phrases, and how long the whole took."""

    phrases: list[Written]
    seconds: float

    @property
    def texts(self) -> list[str]:
        """What was written down."""
        return [one.text for one in self.phrases]


def pieces() -> list[bytes]:
    """The note, a WAV file for each quarter of a second."""
    samples, rate = soundfile.read(NOTE, dtype="float32")
    step = round(PIECE_S * rate)
    return [_wav(samples[at : at + step], rate) for at in range(0, len(samples), step)]


def tell(client: Client, *, paced: bool, meanwhile: Callable[[], None] = lambda: None) -> Told:
    """The note through both deployments; `meanwhile` runs beside it, from its middle on."""
    found: list[Written] = []
    with client.sequence(EAR, timeout_s=WITHIN_S) as ears:
        stream = Stream(ears.step, partial(client.submit, WRITER, timeout_s=WITHIN_S))
        taker = threading.Thread(target=lambda: found.extend(stream))
        taker.start()
        began_s, said = time.monotonic(), pieces()
        beside = threading.Thread(target=meanwhile)
        try:
            for at, piece in enumerate(said):
                if paced:
                    time.sleep(max(0.0, began_s + (at + 1) * PIECE_S - time.monotonic()))
                if at == len(said) // 2:
                    beside.start()
                stream.put(np.frombuffer(piece, np.uint8))
        finally:
            stream.end()
            taker.join()
        seconds = time.monotonic() - began_s
        beside.join()
    return Told(found, seconds)


def away(client: Client, spec: DeploymentSpec) -> None:
    """The link drops for AWAY_S, both ways, and returns."""
    links = [link for link in spec.topology.links if {link.source, link.target} == {"phone", "cloud"}]
    client.shape(*(replace(link, bytes_per_s=SLOWEST) for link in links))
    time.sleep(AWAY_S)
    client.shape(*links)


def kill(client: Client, node: str) -> None:
    """End a node's worker without a word."""
    os.kill(client.status()["workers"][node]["pid"], signal.SIGKILL)


def main() -> None:
    """Every way to run it, one after the other."""
    with tempfile.TemporaryDirectory(prefix="isthmus-notes-") as scratch:
        folder = Path(scratch)
        sample = soundfile.read(NOTE, dtype="float32")[0][: 3 * RATE]
        spec = writer(folder, sample)
        _cut(spec, sample, folder)
        print(f"\ndeployed over\n{TOPOLOGY.read_text()}measuring and planning…")
        with Client() as client:
            client.deploy(ear(folder))
            client.deploy(spec)
            for name in (EAR, WRITER):
                Console().print(plan_picture(client.plan(name)))
            print(f"picture: {picture(spec, client.plan(WRITER), TOPOLOGY.with_name('plan.svg'))}")
            whole = tell(client, paced=False)
            length_s = len(pieces()) * PIECE_S
            _report("as fast as it is heard", whole, None)
            factor = whole.seconds / length_s
            print(f"  real-time factor {factor:.2f}: {whole.seconds:.1f} s for {length_s:.1f} s of sound")
            for title, meanwhile in (
                ("at the pace of speech", lambda: None),
                (f"the link away for {AWAY_S:g} s", partial(away, client, spec)),
                ("the cloud's worker killed", partial(kill, client, "cloud")),
            ):
                _report(title, tell(client, paced=True, meanwhile=meanwhile), whole)
            client.deploy(hearer(folder, sample, TOPOLOGY))
            client.deploy(sayer(folder, TOPOLOGY))
            _spell(Speller(client), whole)


def _spell(speller: Speller, whole: Told) -> None:
    """The same phrases token by token."""
    samples = soundfile.read(NOTE, dtype="float32")[0]
    first, last, same = [], [], 0
    for one in whole.phrases:
        began_s, told, came_s = time.monotonic(), [], []
        for token in speller.tokens(samples[round(one.begin_s * RATE) : round(one.end_s * RATE)]):
            told.append(token)
            came_s.append(time.monotonic() - began_s)
        first.extend(came_s[:1])
        last.extend(came_s[-1:])
        same += listening.text(told) == one.text
    print(f"token by token: {same} of {len(whole.phrases)} phrases the same")
    print(f"  the first token {median(first):.2f} s after it was asked for (median; at most {max(first):.2f})")
    print(f"  the last {median(last):.2f} s after (median; at most {max(last):.2f})")


def _report(title: str, told: Told, whole: Told | None) -> None:
    right = f"{right_words(told.texts)} of {all_words()} words right"
    lost = "" if whole is None else f", {'the same' if told.texts == whole.texts else 'NOT the same'} phrases as before"
    print(f"{title}: {len(told.phrases)} phrases, {right}{lost}")
    if whole is None:
        for one in told.phrases:
            print(f"  {one.begin_s:5.1f}-{one.end_s:4.1f} s  {one.text}")
    else:
        after = sorted(one.after_s for one in told.phrases)
        print(f"  written down {median(after):.2f} s after a phrase's end (median; at most {after[-1]:.2f})")


def _cut(spec: DeploymentSpec, sample: Array, folder: Path) -> None:
    """What is right whole, cut between encoder and decoder, and with codecs there."""
    model = planned(spec, {"sound": sample}, folder)
    samples = soundfile.read(NOTE, dtype="float32")[0]
    whole: list[str] = []
    for title, cuts, codec in (("whole", (), {}), ("cut, raw", (HIDDEN,), {}), *_with_codecs()):
        made = parts(model, folder / "store", cuts=cuts, codecs=codec)
        texts = [made.run({"sound": samples[begin:end]})["text"][0].decode() for begin, end in _phrases(samples)]
        made.close()
        whole = whole or texts
        changed = sum(one != other for one, other in zip(texts, whole, strict=True))
        print(f"{title}: {right_words(texts)} of {all_words()} words right, {changed} phrases changed by the cut")


def _with_codecs() -> list[tuple[str, tuple[str, ...], dict[str, str]]]:
    return [(f"cut, {codec}", (HIDDEN,), {HIDDEN: codec}) for codec in ("fp16", "int8")]


def _phrases(samples: Array) -> list[tuple[int, int]]:
    """Where the note's sentences are: apart by a second that is next to silent."""
    step = RATE // 10
    loud = [bool(np.abs(samples[at : at + step]).max() > 0.02) for at in range(0, len(samples), step)]
    found: list[tuple[int, int]] = []
    for at, is_loud in enumerate(loud):
        if is_loud and found and at * step - found[-1][1] < RATE // 2:
            found[-1] = (found[-1][0], (at + 1) * step)
        elif is_loud:
            found.append((at * step, (at + 1) * step))
    return [(max(0, begin - step), end + step) for begin, end in found]


def _wav(samples: Array, rate: int) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


if __name__ == "__main__":
    main()
