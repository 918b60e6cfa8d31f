"""Where to cut, asked twice, nothing deployed: once freely, once with `private`, where no pixels leave the camera."""

from pathlib import Path

from isthmus import load_model, plan_for, zoo
from partitioner.plan import Infeasible

topology = Path(__file__).parent / "classify" / "topology.yaml"
model = load_model(zoo.build("efficientnet_lite0_frame"))
for private in ((), ("frame",)):
    plan = plan_for(model, topology, private=private)
    if isinstance(plan, Infeasible):
        raise SystemExit(f"no plan fits: {plan.constraint}: {plan.detail}")
    print(f"private: {', '.join(private) or 'nothing'}")
    for stage in plan.stages:
        print(f"  {stage.node}: {len(stage.operators)} operators on {stage.backend}, {stage.seconds * 1e3:.1f} ms")
    for crossing in plan.crossings:
        print(f"  {crossing.source} → {crossing.target}: {crossing.nbytes:,} bytes, {crossing.seconds * 1e3:.1f} ms")
    print(f"  {plan.reason} ({plan.certificate.status if plan.certificate else 'not proven'})")
