"""Whether steps that run one model run it apart or as one: with `shared_models: best` whichever plan is better.

Both forms of the pipeline are measured and planned under the links as they are told; what is deployed stays so.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf

from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec
from partitioner.figures import score
from partitioner.plan import Infeasible, Plan
from partitioner.profile import Profile

Measured = Callable[[DeploymentSpec], tuple[Profile, Plan | Infeasible]]


def settled(
    spec: DeploymentSpec, profile: Profile | None, plan: Plan | None, measured: Measured
) -> tuple[DeploymentSpec, Profile | None]:
    """The spec with one model, and its profile: of the form that a profile or plan is given of, else of the better one.

    Of two that are as good, or if no plan fits either, the one whose steps run apart.
    """
    if spec.batched_model is None:
        return spec, profile
    apart = replace(spec, batched_model=None)
    forms = (apart, replace(apart, model=spec.batched_model))
    if profile is not None or plan is not None:
        of = profile.model if profile is not None else plan.model if plan is not None else ""
        return next((form for form in forms if prepare(form).sha256 == of), apart), profile
    found = [(form, *measured(form)) for form in forms]
    best, best_profile, _ = min(found, key=lambda one: _price(one[2], spec.objective))
    return best, best_profile


def _price(plan: Plan | Infeasible, objective: str) -> float:
    price = None if isinstance(plan, Infeasible) else score(plan.predicted, objective)
    return inf if price is None else price
