"""Who says which setting to try next: Optuna, and a policy that learned from trials of other models and nodes.

Both are asked for a setting and told its seconds; neither repeats one, neither knows a clock.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ClusterError
from orchestrator.tuning.knobs import Setting, features_of, knobs, setting_of, settings, values_of
from orchestrator.tuning.trials import Trial

REFUSED = 3.0  # times the default's seconds: what a setting that the engine refuses counts as
NOISE = 0.03  # of a trial's log seconds
PRIOR = 0.3  # of a weight, before anything was seen: settings change seconds by some tens of percent
MOST_TYPES = 8  # operator types told apart
TUNERS = ("learned", "optuna")


class Tuner(Protocol):
    """Proposes settings."""

    def ask(self) -> Setting | None:
        """The next setting to try; None when all were."""
        ...

    def tell(self, setting: Setting, ratio: float | None) -> None:
        """How many times the default's seconds a setting took; None: it was refused."""
        ...


class OptunaTuner:
    """Tree-structured Parzen estimator (Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011)."""

    def __init__(self, backend: str, *, threads: int = 1, seed: int = 0) -> None:
        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._backend, self._threads = backend, threads
        self._left = list(settings(backend, threads))
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4))
        self._choices = {
            name: optuna.distributions.CategoricalDistribution(values)
            for name, values in knobs(backend, threads).items()
        }
        self._asked: dict[Setting, Any] = {}

    def ask(self) -> Setting | None:
        """The default first, then what Optuna suggests; where it repeats itself, the first setting left."""
        if not self._left:
            return None
        trial = self._study.ask(self._choices)
        if not self._asked:
            return self._take((), trial)
        setting = setting_of(self._backend, trial.params, self._threads)
        return self._take(setting if setting in self._left else self._left[0], trial)

    def tell(self, setting: Setting, ratio: float | None) -> None:
        """Its log ratio as the value of a finished trial of exactly that setting."""
        optuna = _optuna()
        params = values_of(self._backend, setting, self._threads)
        value = float(np.log(REFUSED if ratio is None else ratio))
        done = optuna.trial.create_trial(params=params, distributions=self._choices, value=value)
        self._study.tell(self._asked[setting], state=optuna.trial.TrialState.FAIL)
        self._study.add_trial(done)

    def _take(self, setting: Setting, trial: Any) -> Setting:
        self._left.remove(setting)
        self._asked[setting] = trial
        return setting


class LearnedTuner:
    """Thompson sampling over a linear model of log seconds, its prior learned from stored trials of the same engine.

    A setting's features are its values, and each of them times the model's mix of operators and the threads, so that
    what helped models like this one is tried first; each answer of this model corrects it. Agrawal, Goyal: Thompson
    Sampling for Contextual Bandits with Linear Payoffs (2013).
    """

    def __init__(
        self, backend: str, *, mix: Mapping[str, float], threads: int, seen: Sequence[Trial] = (), seed: int = 0
    ) -> None:
        self._backend, self._mix, self._threads = backend, mix, threads
        self._left = list(settings(backend, threads))
        mine = [one for one in seen if one.backend == backend]
        totals: dict[str, float] = {}
        for one in mine:
            for kind, share in one.mix.items():
                totals[kind] = totals.get(kind, 0.0) + share
        self._types = sorted(totals, key=lambda kind: (-totals[kind], kind))[:MOST_TYPES]
        self._random = np.random.default_rng(seed)
        size = len(self._features((), mix, threads))
        self._precision = np.eye(size) / PRIOR**2
        self._weighed = np.zeros(size)
        for features, value in _observations(self, mine):
            self._learn(features, value)

    def ask(self) -> Setting | None:
        """The default first, then the setting that is fastest under weights drawn from what is believed of them."""
        if not self._left:
            return None
        if () in self._left:
            return self._take(())
        covariance = np.linalg.inv(self._precision)
        weights = self._random.multivariate_normal(covariance @ self._weighed, covariance, method="cholesky")
        rows = np.array([self._features(one, self._mix, self._threads) for one in self._left])
        return self._take(self._left[int(np.argmin(rows @ weights))])

    def tell(self, setting: Setting, ratio: float | None) -> None:
        """Correct the weights by one answer."""
        self._learn(
            self._features(setting, self._mix, self._threads), float(np.log(REFUSED if ratio is None else ratio))
        )

    def _take(self, setting: Setting) -> Setting:
        self._left.remove(setting)
        return setting

    def _learn(self, features: NDArray[np.float64], value: float) -> None:
        self._precision += np.outer(features, features) / NOISE**2
        self._weighed += features * value / NOISE**2

    def _features(self, setting: Setting, mix: Mapping[str, float], threads: int) -> NDArray[np.float64]:
        """The setting's own numbers, then those times the model's mix and threads."""
        own = features_of(self._backend, setting, threads)
        context = [1.0, *(mix.get(kind, 0.0) for kind in self._types), float(threads > 1)]
        return np.outer(own, context).ravel() if own else np.zeros(0)


def check_tuner(name: str) -> None:
    """ClusterError for a tuner that there isn't, or that lacks its package here."""
    if name not in TUNERS:
        raise ClusterError(f"no tuner {name!r}; there are {', '.join(TUNERS)}")
    if name == "optuna":
        _optuna()


def tuner_of(
    name: str, backend: str, *, mix: Mapping[str, float], threads: int, seen: Sequence[Trial], seed: int = 0
) -> Tuner:
    """The tuner of that name for a model on an engine; ClusterError as `check_tuner`."""
    check_tuner(name)
    if name == "optuna":
        return OptunaTuner(backend, threads=threads, seed=seed)
    return LearnedTuner(backend, mix=mix, threads=threads, seen=seen, seed=seed)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ClusterError('the tuner optuna needs its package: pip install "isthmus[tune]"') from None
    return optuna


def _observations(tuner: LearnedTuner, trials: Sequence[Trial]) -> list[tuple[NDArray[np.float64], float]]:
    """Features and log ratio of each trial whose model, node and threads have a default to compare with."""
    default = {_place(one): one.seconds for one in trials if one.setting == () and one.seconds is not None}
    found = []
    for one in trials:
        base = default.get(_place(one))
        if base is not None and one.setting != ():
            ratio = REFUSED if one.seconds is None else one.seconds / base
            found.append((tuner._features(one.setting, one.mix, one.threads), float(np.log(ratio))))
    return found


def _place(trial: Trial) -> tuple[str, str, int]:
    return trial.model, trial.node, trial.threads
