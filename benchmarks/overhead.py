"""What explaining costs on top of a plain forward pass: time and peak memory, file by file.

``python -m benchmarks.overhead MODEL.onnx ...`` runs every probed session and the plain one in pairs whose
order alternates (ABBA), beside a control pair of two plain sessions, and reports the median of the pairs'
ratios. Peak memory is VmHWM of a fresh child that loads one ready-made graph and imports nothing but the
runtime and NumPy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cfp_onnx.explanation.engine import Engine
    from cfp_onnx.runtime import Graph
    from cfp_onnx.runtime.probe import Probe

# A child that measures memory imports this module too: cfp_onnx and onnx are imported inside functions only.

Array = NDArray[Any]
Feeds = Mapping[str, Array]

MODES: Final = ("published", "mean", "positional", "active")
DEFAULT_MODES: Final = ("published", "mean", "positional")
CONTROL_LIMIT: Final = 0.02
PAUSE: Final = 0.01
"""Seconds between two runs, so that the threads of one session stop spinning before the other starts."""
CHILD_PASSES: Final = 3
MB: Final = 1e6
SUMMARY: Final = "What explaining costs on top of a plain forward pass: time and peak memory, file by file."


# ------------------------------------------------------------------------------------------------ sessions


@dataclass(frozen=True)
class Measured:
    """A session to time.

    Attributes:
        session: onnxruntime session.
        names: Outputs to fetch.
        feeds: Its inputs.
        graph: What it was made of; None for the file itself.
        probe: What was added; None for a plain session.
    """

    session: Any
    names: list[str]
    feeds: dict[str, Array]
    graph: Graph | None = None
    probe: Probe | None = None

    def run(self) -> float:
        """Seconds of one forward pass."""
        start = time.perf_counter()
        self.session.run(self.names, self.feeds)
        return time.perf_counter() - start


def make_engine(
    path: Path, clip: Path | None, threads: int | None, device: str = "cpu"
) -> tuple[Engine, dict[str, Array]]:
    """The engine of a file, and what to feed it: the clip, or seeded random arrays."""
    from cfp_onnx import model, runtime
    from cfp_onnx.explanation.engine import Engine

    loaded = model.load(path)
    feeds = runtime.random_feeds(loaded) if clip is None else _clip_feeds(loaded, clip)
    return Engine(loaded, feeds, device=runtime.Device(device, threads)), feeds


def _clip_feeds(loaded: Any, clip: Path) -> dict[str, Array]:
    from cfp_onnx.clips.load import load_clip
    from cfp_onnx.clips.preprocess import Preprocess
    from cfp_onnx.explanation import inputs

    preprocess = Preprocess.of_metadata(loaded.preprocess)
    return dict(load_clip(clip, inputs.specs(loaded), preprocess=preprocess, layout=preprocess.layout).feeds)


def plain(engine: Engine, feeds: Feeds) -> Measured:
    """The plain forward pass with the probes' fixed shapes and session options."""
    return Measured(engine.graph.session(engine.device), _outputs(engine), dict(feeds), engine.graph)


def own_file(engine: Engine, feeds: Feeds) -> Measured:
    """The plain forward pass of the file as it is."""
    from cfp_onnx import runtime

    return Measured(runtime.plain_session(engine.file, engine.device), _outputs(engine), dict(feeds))


def probed(engine: Engine, feeds: Feeds, mode: str, index: int) -> Measured:
    """The session of a rule over all layers, and what the engine fetches from it.

    Raises:
        RuntimeError: If the engine has made this session before, so that its graph is gone.
    """
    from cfp_onnx.runtime.probe import SEED

    base, kept = engine.graph, _keeping(engine.graph)
    engine.sessions.graph = kept
    try:
        if mode in {"published", "mean"}:
            session, statistics = engine.statistics_session(mode, None)
            wanted = [*statistics.pooled.values(), *statistics.taps.values(), *statistics.addends.values()]
            names, inputs = [*_outputs(engine), *wanted], dict(feeds)
        else:
            made = engine.field_probe(mode, None)
            session, names = made.session, list(made.relevance.values())
            inputs = {**feeds, SEED: engine.seed(index, "contrast")}
    finally:
        engine.sessions.graph = base
    names = [n for n in dict.fromkeys(names) if n not in inputs]
    if not kept.made:
        raise RuntimeError(f"the engine holds the session of {mode} already; take a fresh engine")
    graph, probe = kept.made[-1]
    return Measured(session, names, inputs, graph, probe)


def _outputs(engine: Engine) -> list[str]:
    return [p.name for p in engine.file.outputs]


def _keeping(graph: Graph) -> Any:
    """The same graph, which notes what is made of it: the engine keeps the session only."""
    from cfp_onnx.runtime import Graph

    class Keeping(Graph):
        made: list[tuple[Graph, Probe]] = []  # noqa: RUF012  (one class for each call)

        def with_probe(self, probe: Probe, *, keep_outputs: bool = True) -> Graph:
            graph = super().with_probe(probe, keep_outputs=keep_outputs)
            self.made.append((graph, probe))
            return graph

    return Keeping(graph.proto, graph.weights)


# -------------------------------------------------------------------------------------------------- timing


@dataclass(frozen=True)
class Timing:
    """Pairs of one session against the plain one.

    Attributes:
        ratio: Median of the pairs' ratios.
        low: Lower quartile of the ratios.
        high: Upper quartile.
        milliseconds: Median of the session's own time.
    """

    ratio: float
    low: float
    high: float
    milliseconds: float

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]]) -> Timing:
        """From (plain, session) seconds."""
        ratios = [b / a for a, b in pairs]
        low, middle, high = (float(q) for q in np.quantile(ratios, [0.25, 0.5, 0.75]))
        return cls(middle, low, high, 1e3 * float(np.median([b for _, b in pairs])))


def time_pairs(base: Measured, others: Mapping[str, Measured], pairs: int) -> dict[str, Timing]:
    """Time every session against the plain one, the order of each pair alternating."""
    for session in (base, *others.values()):
        session.run()
        session.run()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in others}
    for turn in range(pairs):
        for name, other in others.items():
            seconds: dict[bool, float] = {}
            for is_base in (True, False) if turn % 2 == 0 else (False, True):
                time.sleep(PAUSE)
                seconds[is_base] = (base if is_base else other).run()
            found[name].append((seconds[True], seconds[False]))
    return {name: Timing.of(rows) for name, rows in found.items()}


@dataclass(frozen=True)
class WalkTime:
    """The published walk in NumPy over all layers.

    Attributes:
        first: Milliseconds of the first walk, which also reads the weights.
        later: Median milliseconds of the walks after it.
        kernels: Kernels expanded.
        links: Links kept.
    """

    first: float
    later: float
    kernels: int
    links: int


def time_walk(engine: Engine, feeds: Feeds, index: int, theta: float) -> WalkTime:
    """Time the published walk, links included; a theta of 0 expands every kernel that has any relevance."""
    from cfp_onnx.relevance import pooled_walk
    from cfp_onnx.relevance.values import Settings

    statistics, results = engine.statistics(feeds, "published", None)
    settings = Settings(theta, None, None, "weights", index)

    def means(layer: Any) -> Array:
        return np.concatenate([statistics.channel_means(p, results) for p in layer.parts])

    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        walked = pooled_walk.published(engine.topology, engine.depths, means, settings, engine.sessions.mean_weights)
        seconds.append(time.perf_counter() - start)
    links = sum(len(v) for v in walked.links.values())
    return WalkTime(1e3 * seconds[0], 1e3 * float(np.median(seconds[1:])), len(walked.links), links)


# -------------------------------------------------------------------------------------------------- memory


def save(measured: Measured, folder: Path) -> Path:
    """Write a graph as an ONNX file with its weights beside it, and its feeds and outputs, for a child."""
    import onnx

    assert measured.graph is not None
    proto = onnx.ModelProto()
    proto.CopyFrom(measured.graph.proto)
    with (folder / "weights.bin").open("wb") as stream:
        for tensor in proto.graph.initializer:
            array = measured.graph.weights.get(tensor.name)
            if array is None or tensor.data_location != onnx.TensorProto.EXTERNAL:
                continue
            stream.write(bytes(-stream.tell() % 4096))
            place = {"location": "weights.bin", "offset": str(stream.tell()), "length": str(array.nbytes)}
            stream.write(np.ascontiguousarray(array).tobytes())
            del tensor.external_data[:]
            for key, value in place.items():
                tensor.external_data.add(key=key, value=value)
    path = folder / "graph.onnx"
    path.write_bytes(proto.SerializeToString())
    np.savez(folder / "feeds.npz", **{f"feed{i}": v for i, v in enumerate(measured.feeds.values())})
    (folder / "names.json").write_text(json.dumps({"feeds": list(measured.feeds), "names": measured.names}))
    return path


def child_session(folder: Path, threads: int | None) -> None:
    """In the child: one ready-made graph, nothing but the runtime and NumPy."""
    import onnxruntime as rt

    names = json.loads((folder / "names.json").read_text())
    with np.load(folder / "feeds.npz") as arrays:
        feeds = {n: arrays[f"feed{i}"] for i, n in enumerate(names["feeds"])}
    options = rt.SessionOptions()
    options.log_severity_level = 4
    options.execution_order = rt.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_pattern = False  # these three as cfp_onnx.runtime sets them
    options.add_session_config_entry("session.disable_prepacking", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    session = rt.InferenceSession(str(folder / "graph.onnx"), options, providers=["CPUExecutionProvider"])
    for _ in range(CHILD_PASSES):
        session.run(names["names"], feeds)


def child_engine(mode: str, path: Path, clip: Path | None, threads: int | None) -> None:
    """In the child: everything the package does up to the same session, as a user's process would."""
    if mode == "plain":
        from cfp_onnx import model, runtime

        loaded = model.load(path)
        feeds = runtime.random_feeds(loaded) if clip is None else _clip_feeds(loaded, clip)
        session = runtime.plain_session(loaded, runtime.Device("cpu", threads))
        measured = Measured(session, [p.name for p in loaded.outputs], dict(feeds))
    else:
        engine, feeds = make_engine(path, clip, threads)
        measured = probed(engine, feeds, mode, 0)
    for _ in range(CHILD_PASSES):
        measured.run()


def high_water_mark() -> float:
    """VmHWM of this process in MB; `ru_maxrss` would count the parent's memory over fork and exec."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:")) * 1024 / MB


def peak(*arguments: str) -> float:
    """VmHWM in MB of this module run with ``--child``."""
    command = [sys.executable, "-m", "benchmarks.overhead", *arguments]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    if done.returncode:
        raise RuntimeError(f"the child {' '.join(arguments)} failed: {done.stderr.strip()[-2000:]}")
    return float(done.stdout.strip().splitlines()[-1])


def session_peak(measured: Measured, threads: int | None) -> float:
    """Peak memory of a process that has one session and nothing else."""
    with tempfile.TemporaryDirectory(prefix="cfp-overhead-") as folder:
        save(measured, Path(folder))
        return peak(*_threads(threads), "--child", "session", folder)


def engine_peak(mode: str, path: Path, clip: Path | None, threads: int | None) -> float:
    """Peak memory of a process that goes through the package up to that session."""
    given = [] if clip is None else ["--clip", str(clip.resolve())]
    return peak(*given, *_threads(threads), "--child", mode, str(path.resolve()))


def _threads(threads: int | None) -> list[str]:
    return [] if threads is None else ["--threads", str(threads)]


def float_bytes(engine: Engine, names: Sequence[str] | None = None) -> int:
    """Bytes of the model's float tensors at this input size; of some of them where given."""
    total = 0
    for name in engine.program.shapes if names is None else names:
        kind = np.dtype(engine.program.dtypes.get(name, "float32"))
        if np.issubdtype(kind, np.floating):
            total += int(np.prod(engine.program.shapes[name], dtype=np.int64)) * kind.itemsize
    return total


def read_by(engine: Engine, probe: Probe) -> list[str]:
    """Tensors of the model that a probe's nodes read, so that they have to be kept."""
    made = {o for n in probe.nodes for o in n.output}
    read = dict.fromkeys(i for n in probe.nodes for i in n.input if i not in made)
    return [i for i in read if i in engine.program.shapes and not engine.program.is_constant(i)]


# ------------------------------------------------------------------------------------------------- results


@dataclass
class Result:
    """All figures of one file.

    Attributes:
        model: File name.
        shape: Shape of the first input.
        plain_ms: Median time of the plain pass.
        timings: Mode (and ``control``, ``file``) to its timing.
        walk: The NumPy walk.
        session_mb: Mode (and ``plain``) to VmHWM of a process with that session only.
        engine_mb: Mode (and ``plain``) to VmHWM of a process that goes through the package.
        activations_mb: All float tensors of one pass.
        kept_mb: Those that the positional walk reads.
        constants_mb: Constants that the positional walk adds, turned weights above all.
    """

    model: str
    shape: list[int]
    plain_ms: float
    timings: dict[str, Timing]
    walk: WalkTime | None = None
    session_mb: dict[str, float] = field(default_factory=dict)
    engine_mb: dict[str, float] = field(default_factory=dict)
    activations_mb: float = 0.0
    kept_mb: float = 0.0
    constants_mb: float = 0.0

    @property
    def steady(self) -> bool:
        """Whether the control pair was equal within the limit."""
        return abs(self.timings["control"].ratio - 1) <= CONTROL_LIMIT


@dataclass(frozen=True)
class Options:
    """What to measure, as on the command line."""

    clip: Path | None = None
    pairs: int = 15
    threads: int | None = 2
    device: str = "cpu"
    modes: tuple[str, ...] = DEFAULT_MODES
    theta: float = 0.6
    memory: bool = True


def measure(path: Path, options: Options) -> Result:
    """All figures of one file."""
    engine, feeds = make_engine(path, options.clip, options.threads, options.device)
    base = plain(engine, feeds)
    index = int(np.argmax(engine.scores(base.session.run([engine.output], dict(feeds))[0])))
    others = {"control": plain(engine, feeds)}
    others |= {mode: probed(engine, feeds, mode, index) for mode in options.modes}
    others |= {"file": own_file(engine, feeds)}
    timings = time_pairs(base, others, options.pairs)
    result = Result(
        model=path.name,
        shape=list(next(iter(feeds.values())).shape),
        plain_ms=timings["control"].milliseconds,
        timings=timings,
        walk=time_walk(engine, feeds, index, options.theta),
        activations_mb=float_bytes(engine) / MB,
    )
    if "positional" in others and (probe := others["positional"].probe) is not None:
        result.kept_mb = float_bytes(engine, read_by(engine, probe)) / MB
        result.constants_mb = sum(v.nbytes for v in probe.constants.values()) / MB
    if options.memory:
        for mode in ("plain", *options.modes):
            measured = base if mode == "plain" else others[mode]
            result.session_mb[mode] = session_peak(measured, options.threads)
            result.engine_mb[mode] = engine_peak(mode, path, options.clip, options.threads)
    return result


def markdown(results: Sequence[Result]) -> str:
    """Times as ratios to the plain pass, then peak memory over that of the plain process."""
    modes = [m for m in MODES if any(m in r.timings for r in results)]
    head = ["network", "plain ms", *modes, "control", "file itself", "published walk"]
    lines = [_line(head), _line(["---"] * len(head))]
    for r in results:
        cells = [_ratio(r.timings.get(m)) for m in modes]
        control = _ratio(r.timings["control"]) + ("" if r.steady else " **noisy**")
        lines.append(_line([r.model, f"{r.plain_ms:.1f}", *cells, control, _ratio(r.timings.get("file")), _walk(r)]))
    if any(r.session_mb for r in results):
        head = [
            "network",
            "plain MB",
            *(f"{m} +MB" for m in modes),
            "activations MB",
            "read by positional MB",
        ]
        head += [
            "positional / activations",
            "/ read",
            "with the package: plain MB",
            *(f"{m} +MB" for m in modes),
        ]
        lines += ["", _line(head), _line(["---"] * len(head))]
        lines += [_line(_memory(r, modes)) for r in results if r.session_mb]
    if noisy := [r.model for r in results if not r.steady]:
        lines += [
            "",
            f"Discard the times of {', '.join(noisy)}: the control is off by more than {CONTROL_LIMIT:.0%}.",
        ]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(timing: Timing | None) -> str:
    return "" if timing is None else f"{timing.ratio:.3f} ({timing.low:.2f}-{timing.high:.2f})"


def _walk(r: Result) -> str:
    if r.walk is None:
        return ""
    later, first = r.walk.later / r.plain_ms, r.walk.first / r.plain_ms
    return f"{later:.2f}, first {first:.2f} ({r.walk.kernels} kernels, {r.walk.links} links)"


def _memory(r: Result, modes: Sequence[str]) -> list[str]:
    extra = [f"{r.session_mb[m] - r.session_mb['plain']:+.0f}" if m in r.session_mb else "" for m in modes]
    package = [f"{r.engine_mb[m] - r.engine_mb['plain']:+.0f}" if m in r.engine_mb else "" for m in modes]
    shares = ["", ""]
    if "positional" in r.session_mb and r.kept_mb:
        more = r.session_mb["positional"] - r.session_mb["plain"]
        shares = [f"{more / r.activations_mb:.2f}", f"{more / r.kept_mb:.2f}"]
    sums = [f"{v:.0f}" for v in (r.activations_mb, r.kept_mb, r.constants_mb)]
    whole = f"{r.engine_mb['plain']:.0f}"
    return [r.model, f"{r.session_mb['plain']:.0f}", *extra, *sums, *shares, whole, *package]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.onnx")
    parser.add_argument("--clip", type=Path, help="a clip for all files; seeded random arrays without it")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or tensorrt")
    parser.add_argument("--active", action="store_true", help="time the rule `active` too")
    parser.add_argument("--theta", type=float, default=0.6, help="of the NumPy walk; 0 expands all kernels")
    parser.add_argument("--no-memory", action="store_true", help="skip the children that measure memory")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def _child(given: argparse.Namespace) -> int:
    if given.child == "session":
        child_session(given.models[0], given.threads)
    else:
        child_engine(given.child, given.models[0], given.clip, given.threads)
    print(high_water_mark())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if given.child is not None:
        return _child(given)
    options = Options(
        clip=given.clip,
        pairs=given.pairs,
        threads=given.threads,
        device=given.device,
        modes=MODES if given.active else DEFAULT_MODES,
        theta=given.theta,
        memory=not given.no_memory,
    )
    results = []
    for path in given.models:
        print(f"{path.name} ...", file=sys.stderr, flush=True)
        results.append(measure(path, options))
        if given.json is not None:
            rows = [{**asdict(r), "steady": r.steady} for r in results]
            given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = markdown(results)
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
