"""Variants of models and stages: each made once, kept on disk with what was measured of it, and found there again.

    with variant(path, "int8", feeds=calibration, judged_on=held_out) as made:
        made.path, made.nbytes, made.figures.errors.sqnr_db

Two entries of the engines' cache a variant: the model, by what it was made of and by; its figures, by those and what
it was judged on. A damaged entry is made anew, two processes make one once.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx

from nodes.backend import NO_OPTIONS, Array, Option
from nodes.cache import Cache, CacheKey, engine_cache, model_digest
from nodes.errors import BadInput
from nodes.options import Options
from nodes.variants.calibration import digest
from nodes.variants.errors import NotPossible
from nodes.variants.errors_of import Errors, errors_of
from nodes.variants.forms import Feeds, Figures, Variant, form_named
from nodes.variants.pieces import Pieces
from nodes.variants.ranges import TensorRange, ranges_of

RECIPE = 1  # changes when a maker, or an option's default, does
RANGED = 32  # inputs that ranges are taken over, spread evenly: each costs a run that gives out every activation
MODEL, FIGURES = "model.onnx", "figures.json"


@contextmanager
def variant(
    model: Path,
    form: str,
    *,
    feeds: Feeds = (),
    options: Mapping[str, Option] = NO_OPTIONS,
    judged_on: Feeds = (),
    labels: Sequence[int] | None = None,
    cache: Cache | None = None,
) -> Iterator[Variant]:
    """A form of a float32 model file, safe from eviction inside the block; made unless the cache holds it.

    `feeds` calibrate it; its errors are measured on `judged_on`, or else on those (with neither: not at all). `labels`
    are the right ones of what it is judged on. UnknownForm, NotPossible, InvalidModel; BadInput for inputs that don't
    fit, CompileError for an unknown option.
    """
    maker = form_named(form)
    store, judges = cache or engine_cache(), judged_on or feeds
    if maker.calibrated == "needed" and not feeds:
        raise BadInput(f"the form {form} needs calibration inputs; give some")
    if maker.calibrated == "unused":
        feeds = ()  # so that its entry serves whatever is given
    key = _key(model, form, feeds, options)
    with ExitStack() as held:
        folder = held.enter_context(store.entry(key, lambda new: _make(model, form, feeds, options, new)))
        figures = None
        if judges:
            judged = replace(key, engine=f"figures of {key.engine}", options=_judges(key, judges, labels))
            made = folder / MODEL
            kept = held.enter_context(store.entry(judged, lambda new: _measure(model, made, form, judges, labels, new)))
            figures = _figures(kept / FIGURES)
        yield Variant(
            name=f"{model.stem}.{form}",
            path=folder / MODEL,
            nbytes=(folder / MODEL).stat().st_size,
            form=form,
            recipe={"model": key.model, "made_by": key.engine, **key.options},
            figures=figures,
        )


def measured(reference: Path, judged: Path, feeds: Feeds, labels: Sequence[int] | None = None) -> Errors:
    """The errors of any model file with the reference's inputs and outputs. BadInput for feeds that don't fit it."""
    exact, other = Pieces(reference), Pieces(judged)
    exact.check(feeds)
    return errors_of(exact.run(exact.core, feeds), other.run(other.core, feeds), labels)


def _key(model: Path, form: str, feeds: Feeds, options: Mapping[str, Option]) -> CacheKey:
    versions = " ".join(f"{name} {metadata.version(name)}" for name in ("onnx", _engine()))
    given = {**options, "calibration": digest(feeds)} if feeds else dict(options)
    digested = model_digest(model) if model.is_file() else ""  # the maker says that it is missing
    return CacheKey(model=digested, engine=f"{form} {RECIPE} {versions}", target="", options=given)


def _engine() -> str:
    """The distribution of ONNX Runtime that is here."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return name
    raise NotPossible('making variants needs ONNX Runtime; pip install "isthmus[cpu]"')


def _judges(key: CacheKey, feeds: Feeds, labels: Sequence[int] | None) -> Mapping[str, Option]:
    told = "" if labels is None else sha256(np.asarray(labels, np.int64).tobytes()).hexdigest()
    return {**key.options, "judged_on": digest(feeds), "labels": told}


def _make(model: Path, form: str, feeds: Feeds, options: Mapping[str, Option], folder: Path) -> None:
    pieces = Pieces(model)
    if feeds:
        pieces.check(feeds)
    with Options(f"the form {form}", options) as read:
        core = form_named(form).maker()(pieces.core, pieces.core_feeds(feeds), read)
    onnx.save_model(pieces.joined(core), folder / MODEL)


def _measure(model: Path, made: Path, form: str, feeds: Feeds, labels: Sequence[int] | None, folder: Path) -> None:
    pieces, other = Pieces(model), Pieces(made)
    pieces.check(feeds)
    exact, found = pieces.run(pieces.core, feeds), other.run(other.core, feeds)
    _check_finite(form, exact, found)
    errors = errors_of(exact, found, labels)
    ranges = ranges_of(pieces.core, pieces.core_feeds(feeds[:: -(-len(feeds) // RANGED)]))
    document = {"errors": asdict(errors), "ranges": {name: asdict(one) for name, one in ranges.items()}}
    (folder / FIGURES).write_text(json.dumps(document))


def _check_finite(form: str, exact: Sequence[Mapping[str, Array]], found: Sequence[Mapping[str, Array]]) -> None:
    """NotPossible if the form answers NaN or infinity where float32 doesn't."""
    for before, after in zip(exact, found, strict=True):
        for name, array in after.items():
            if array.dtype.kind == "f" and np.isfinite(before[name]).all() and not np.isfinite(array).all():
                raise NotPossible(f"the form {form} answers NaN or infinity in {name!r}; choose another form")


def _figures(path: Path) -> Figures:
    document = json.loads(path.read_text())
    ranges = {name: TensorRange(**one) for name, one in document["ranges"].items()}
    return Figures(errors=Errors(**document["errors"]), ranges=ranges)
