"""Draws a trace whose rate wanders: log-normal, remembered for a while, with spells of silence. No data is needed."""

import numpy as np

from simulations.scenario import Wavering
from simulations.traces.link_trace import LinkTrace

STEP_S = 1.0


def drawn(wavering: Wavering, length_s: float, draw: np.random.Generator, silence: np.random.Generator) -> LinkTrace:
    """Gauss-Markov in the logarithm, a step a second; its mean is `mean_bits_per_s` over what is not silent.

    Two directions with the same lots for `silence` are silent at the same times, if they are so as often and as long.
    """
    steps = max(2, int(np.ceil(length_s / STEP_S)))
    sigma2 = float(np.log1p(wavering.variation**2))
    memory = float(np.exp(-STEP_S / wavering.memory_s))
    kicks = draw.standard_normal(steps)
    state = np.empty(steps)
    state[0] = kicks[0]
    for step in range(1, steps):
        state[step] = memory * state[step - 1] + (1 - memory**2) ** 0.5 * kicks[step]
    rates = wavering.mean_bits_per_s * np.exp(sigma2**0.5 * state - sigma2 / 2)
    if wavering.outage:
        rates = np.where(_silent(wavering, steps, silence), 0.0, rates)
        if not rates.any():
            rates[0] = wavering.mean_bits_per_s
    at_s = np.asarray(np.arange(steps) * STEP_S, dtype=np.float64)
    return LinkTrace("drawn", at_s, np.asarray(rates, dtype=np.float64), steps * STEP_S)


def _silent(wavering: Wavering, steps: int, draw: np.random.Generator) -> np.ndarray:
    """Gilbert's two states, so that silence is `outage` of the time in spells of `outage_s` on average."""
    ends = min(1.0, STEP_S / wavering.outage_s)
    begins = min(1.0, ends * wavering.outage / (1 - wavering.outage))
    chance, found, is_silent = draw.random(steps), np.zeros(steps, dtype=bool), bool(draw.random() < wavering.outage)
    for step in range(steps):
        found[step] = is_silent
        is_silent = chance[step] >= ends if is_silent else chance[step] < begins
    return found
