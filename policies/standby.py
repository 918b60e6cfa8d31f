"""Which spares to keep ready beside what runs. It loads nothing and knows no plans, only what each would take."""

from collections.abc import Mapping, Sequence


def affordable(wishes: Sequence[Mapping[str, int]], *, room_bytes: Mapping[str, int], most: int) -> tuple[int, ...]:
    """The wishes, by index, that are granted: in the order given, each if all that it takes still fits, `most` in all.

    A wish is bytes by node; a node that `room_bytes` leaves out has no room.
    """
    left, granted = dict(room_bytes), list[int]()
    for index, loads in enumerate(wishes):
        if len(granted) < most and all(nbytes <= left.get(node, 0) for node, nbytes in loads.items()):
            granted.append(index)
            left |= {node: left[node] - nbytes for node, nbytes in loads.items()}
    return tuple(granted)
