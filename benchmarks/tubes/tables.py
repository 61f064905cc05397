"""From figures of single clips to tables by kind of network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from benchmarks.tubes.maps import RANDOM, TUBE
from benchmarks.tubes.measures import energy, pointing, share
from benchmarks.tubes.scenes import SINGLE, Scene

FIGURES = ("apart", "crossing", "energy", "pointing")


@dataclass
class Judged:
    """What was measured on one network.

    Attributes:
        name: The network.
        kind: How it is built.
        role: Whether it is for choosing or for the table.
        figures: Map to figure to a value for each scene.
        most: For each single scene the most energy that a map can have: all its mass in the mask.
    """

    name: str
    kind: str
    role: str
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    most: list[float] = field(default_factory=list)

    def note(self, name: str, tube: np.ndarray, scene: Scene) -> None:
        """Measure one map; one without any mass where it is looked for is at chance, or has no energy.

        Args:
            name: The map.
            tube: The map (T, H, W).
            scene: What it was made for.
        """
        own = self.figures.setdefault(name, {figure: [] for figure in FIGURES})
        if scene.other is not None:
            own[scene.what].append(float(np.nan_to_num(share(tube, scene.mask, scene.other), nan=0.5)))
        else:
            own["energy"].append(float(np.nan_to_num(energy(tube, scene.mask))))
            own["pointing"].append(pointing(tube, scene.mask))

    def close(self, scene: Scene) -> None:
        """Note what a scene allows."""
        if scene.what == SINGLE:
            self.most.append(1 / float(scene.mask.mean()))

    def mean(self, name: str, figure: str) -> float:
        """Mean over scenes where the map says something; NaN where there are none."""
        values = self.figures.get(name, {}).get(figure, [])
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def as_json(found: Sequence[Judged]) -> list[Mapping[str, object]]:
    """All figures, scene by scene."""
    return [asdict(one) for one in found]


def markdown(found: Sequence[Judged]) -> str:
    """The class's tube on each network, then the mean of every map over networks with the lowest of them."""
    heads = ["network", "share, apart", "share, crossing", "energy (most)", "pointing", "share, random weights"]
    rows = [_row(heads), "|---" * len(heads) + "|"]
    for one in found:
        most = f"{np.mean(one.most):.0f}" if one.most else "-"
        rows.append(_row([
            one.name, _interval(one, "apart"), _interval(one, "crossing"),
            f"{_number(one.mean(TUBE, 'energy'), 1)} ({most})", _number(one.mean(TUBE, "pointing"), 2),
            _number(one.mean(RANDOM, "apart"), 2),
        ]))  # fmt: skip
    names = dict.fromkeys(n for one in found for n in one.figures if not n.startswith("depth "))
    heads = ["map, mean (lowest) over networks", "share, apart", "share, crossing", "energy", "pointing"]
    rows += ["", _row(heads), "|---" * len(heads) + "|"]
    rows += [_row([name, *(_over(found, name, figure) for figure in FIGURES)]) for name in names]
    return "\n".join(rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float, digits: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _interval(one: Judged, figure: str) -> str:
    """A mean with 1.96 standard errors over scenes."""
    values = np.array(one.figures.get(TUBE, {}).get(figure, []))
    values = values[np.isfinite(values)]
    if not values.size:
        return "-"
    return f"{values.mean():.3f} ± {1.96 * values.std() / np.sqrt(values.size):.3f}"


def _over(found: Sequence[Judged], name: str, figure: str) -> str:
    means = np.array([one.mean(name, figure) for one in found])
    means = means[np.isfinite(means)]
    digits = 1 if figure == "energy" else 3
    return f"{means.mean():.{digits}f} ({means.min():.{digits}f})" if means.size else "-"
