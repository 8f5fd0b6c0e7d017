"""Into which passes through the network a batch is split. Pure."""

from collections.abc import Mapping


def cheapest_passes(costs: Mapping[int, float], count: int) -> tuple[int, ...]:
    """Sizes of the passes in which `count` (0 or more) pictures cost least, largest first.

    `costs` are those of a pass of each size, above 0, in any unit. The last pass may have places to spare:
    where a pass costs the same however full it is, as on a large GPU, filling one up is cheaper than two,
    while a processor takes as long for each picture.
    """
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for pictures in range(1, count + 1):
        options = ((size, cost, best[max(0, pictures - size)]) for size, cost in costs.items())
        best.append(min((cost + rest, (size, *passes)) for size, cost, (rest, passes) in options))
    return tuple(sorted(best[count][1], reverse=True))
