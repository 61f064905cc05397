"""Payloads for the report's tests: a real pyramid, every kind of media, and a network of the largest size."""

from __future__ import annotations

import base64
import functools
from typing import Any

import cv2
import numpy as np

import cfp_onnx as cfp
from benchmarks.demo_model import DEMO, DEMO_CLIP
from cfp_onnx.pyramid import page_payload
from cfp_onnx.pyramid.topology_json import topology_json

SEED = 20190524


def colormap() -> dict[str, str]:
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    return {"name": "inferno", "rgb": text_of(ramp)}


def text_of(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, np.uint8).tobytes()).decode()


def jpeg(frame: np.ndarray) -> str:
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def blob(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A bright spot that moves through the map, 0..1."""
    t, h, w = shape
    grid = np.meshgrid(np.linspace(0, 1, t), np.linspace(0, 1, h), np.linspace(0, 1, w), indexing="ij")
    (y, x), (dy, dx), width = rng.uniform(0.2, 0.8, 2), rng.uniform(-0.4, 0.4, 2), rng.uniform(0.1, 0.3)
    gap = (h > 1) * (grid[1] - y - dy * grid[0]) ** 2 + (w > 1) * (grid[2] - x - dx * grid[0]) ** 2
    return np.exp(-gap / (2 * width**2))


def tube(kind, depth, layer, kernel, values, size, high, *, constant=False) -> dict[str, Any]:
    centres = [((np.arange(n) + 0.5) * full / n - 0.5).tolist() for n, full in zip(values.shape, size, strict=True)]
    levels = np.clip(values / high * 255, 0, 255).round().astype(np.uint8)
    return {
        "kind": kind, "depth": depth, "layer": layer, "kernel": kernel, "shape": list(values.shape),
        "centres": centres, "data": text_of(levels), "min": float(values.min()), "max": float(values.max()),
        "constant": constant,
    }  # fmt: skip


def tubes(pyramid: dict[str, Any], size: tuple[int, int, int], *, per_layer: int = 8) -> dict[str, Any]:
    """A class tube per depth, and one per chosen kernel: coarser with depth 1, finer towards the input."""
    rng = np.random.default_rng(SEED)
    scales, maps = [], []
    deepest = max(level["depth"] for level in pyramid["levels"])
    for level in pyramid["levels"]:
        depth = level["depth"]
        fine = 0.2 + 0.5 * depth / deepest
        shape = tuple(max(1, min(28, round(n * fine))) for n in size)
        high = {"activation": 12.3 / depth, "relevance": 0.01}
        scales += [{"kind": k, "depth": depth, "low": 0.0, "high": v, "unit": k} for k, v in high.items()]
        maps.append(tube("relevance", depth, None, None, blob(shape, rng) * 0.011 - 0.001, size, 0.01))
        seen: dict[str, int] = {}
        for i, kernel in enumerate(level["kernels"]):
            seen[kernel["layer"]] = seen.get(kernel["layer"], 0) + 1
            if seen[kernel["layer"]] > per_layer:
                continue
            flat = i == 3
            values = np.full(shape, 3.25) if flat else blob(shape, rng) * high["activation"] * rng.uniform(0.4, 1.0)
            whose = (kernel["layer"], kernel["kernel"])
            maps.append(tube("activation", depth, *whose, values, size, high["activation"], constant=flat))
    return {"notes": [], "scales": scales, "maps": maps}


@functools.cache
def demo_parts() -> tuple[dict[str, Any], dict[str, Any]]:
    pyramid = cfp.explain(DEMO, DEMO_CLIP, depth="all", against="mean").to_json()
    return pyramid, topology_json(cfp.topology(DEMO))


@functools.cache
def several() -> dict[str, Any]:
    """The built-in network's answer against three rivals, the strongest first."""
    pyramid = cfp.explain(DEMO, DEMO_CLIP, depth="all", against=("best", "mean", "left")).to_json()
    size = (16, 40, 40)
    return payload(pyramid, demo_parts()[1], media_of("video", size), tubes(pyramid, size))


def media_of(kind: str, size: tuple[int, int, int]) -> dict[str, Any]:
    rng = np.random.default_rng(SEED)
    count = {"video": size[0], "image": 1}.get(kind, 0)
    frames = [jpeg(scene(size[1:], i / max(1, count - 1), rng)) for i in range(count)]
    x = np.linspace(0, 1, size[2])
    waves = [np.sin(20 * x) * np.exp(-3 * (x - 0.5) ** 2), np.cos(60 * x**2), np.sin(9 * x) + 0.2 * np.sin(90 * x)]
    note = {
        "video": "The frames after resize and crop, as the network got them.",
        "image": "The picture after resize and crop, as the network got it.",
        "curve": "The signal as the network got it, one row per channel.",
        "none": "The input is not a picture; the maps stand alone.",
    }
    return {
        "kind": kind, "size": list(size), "frames": frames,
        "curve": [w.tolist() for w in waves] if kind == "curve" else None, "note": note[kind],
    }  # fmt: skip


def scene(shape: tuple[int, ...], when: float, rng: np.random.Generator) -> np.ndarray:
    """A landscape with a ball that flies through it."""
    h, w = shape
    y, x = np.mgrid[0:h, 0:w] / np.array([h, w]).reshape(2, 1, 1)
    sky = np.stack([120 + 80 * y, 165 + 50 * y, 215 + 0 * y], -1)
    hill = y > 0.62 + 0.08 * np.sin(7 * x)
    sky[hill] = np.stack([70 + 60 * (1 - y), 110 + 60 * (1 - y), 60 + 20 * y], -1)[hill]
    ball = (x - 0.15 - 0.7 * when) ** 2 + (y - 0.5 + 0.9 * when * (1 - when)) ** 2 < 0.008
    sky[ball] = (205, 70, 45)
    return np.clip(sky + rng.normal(0, 4, sky.shape), 0, 255).astype(np.uint8)


def payload(pyramid, topology, media, maps) -> dict[str, Any]:
    return {
        "format": 1, "pyramid": pyramid, "topology": topology, "colormap": colormap(), "media": media, "tubes": maps,
        "facts": {"cfp_onnx": cfp.__version__, "created": "2026-11-25T10:00:00Z", "seconds": {"run": 1.2}},
    }  # fmt: skip


def demo(kind: str = "video") -> dict[str, Any]:
    """The real pyramid of the built-in network, under media of any kind with synthetic tubes."""
    pyramid, topology = demo_parts()
    size = {"video": (16, 40, 40), "image": (1, 96, 128), "curve": (1, 1, 400), "none": (1, 20, 30)}[kind]
    return payload(pyramid, topology, media_of(kind, size), tubes(pyramid, size))


def own_tubes() -> dict[str, Any]:
    """The page of the built-in network on the built-in clip, as it is saved."""
    found = cfp.explain(DEMO, DEMO_CLIP, depth=3, device="cpu")
    return page_payload.payload(found.to_json(), demo_parts()[1], found.tubes, found.media, {"python": "3"})


def bare() -> dict[str, Any]:
    """No topology, no pictures, no tubes; no label either."""
    pyramid, _ = demo_parts()
    target = {**pyramid["target"], "label": None, "top": [[i, None, s] for i, _, s in pyramid["target"]["top"]]}
    media = {"kind": "none", "size": [16, 40, 40], "frames": [], "curve": None, "note": ""}
    return payload({**pyramid, "target": target}, None, media, {"notes": [], "scales": [], "maps": []})


def unknown() -> dict[str, Any]:
    """A report whose deepest layer lies behind an operator that was passed over."""
    found = demo()
    pyramid = dict(found["pyramid"])
    deepest = max(pyramid["layers"], key=lambda layer: layer["depth"])
    lost = {**deepest, "relevance": [None] * deepest["kernels"], "paths": "none"}
    pyramid["layers"] = [lost if layer is deepest else layer for layer in pyramid["layers"]]
    pyramid["levels"] = [
        {**level, "kernels": [k for k in level["kernels"] if k["layer"] != deepest["name"]]}
        for level in pyramid["levels"]
    ]
    pyramid["edges"] = [edge for edge in pyramid["edges"] if edge["layer"] != deepest["name"]]
    pyramid["coverage"] = {"channels": 0.9, "layers": 0.8, "operators_unknown": ["Fancy"]}
    return {**found, "pyramid": pyramid}


def single() -> dict[str, Any]:
    """A linear classifier: one layer, which reads the input; the explained class is not the model's answer."""
    pyramid, topology = demo_parts()
    head = {**pyramid["layers"][-1], "channels": 3}
    rng = np.random.default_rng(SEED)
    alone = {
        **pyramid, "layers": [head], "levels": [], "edges": [edge(head["name"], 4, range(3), None, rng)],
        "target": {**pyramid["target"], "index": 4, "label": "clockwise", "score": pyramid["target"]["top"][1][2]},
    }  # fmt: skip
    wires = [{"layer": head["name"], "from": [{"layer": None, "input": "x", "via": "chain"}]}]
    none = {"branches": [], "shortcuts": [], "gates": [], "fibers": []}
    media = {"kind": "none", "size": [1, 1, 1], "frames": [], "curve": None, "note": ""}
    maps = {"notes": [], "scales": [], "maps": []}
    return payload(alone, {**topology, "layers": topology["layers"][-1:], "wires": wires, **none}, media, maps)


def big(layers: int = 152, links: int = 100_000) -> dict[str, Any]:
    """A residual network of 152 layers with 75 000 kernels, thousands of them chosen, and 100 000 links."""
    rng = np.random.default_rng(SEED)
    names = [f"/layer{1 + i // 38}/layer{1 + i // 38}.{i % 38 // 3}/conv{1 + i % 3}/Conv" for i in range(layers)]
    names = [f"{name}#{i}" for i, name in enumerate(names)]
    widths = [int(w) for w in np.linspace(240, 750, layers)]
    found, levels, chosen = [], [], {}
    for i, name in enumerate(names):
        depth = layers - i
        relevance = np.float32(rng.normal(0, 1, widths[i]) ** 3)
        found.append({
            "name": name, "op": "Conv", "weight": f"w{i}", "nodes": [name], "kernels": widths[i],
            "channels": widths[i - 1] if i else 3, "groups": 32 if i % 3 == 1 else 1,
            "kernel_shape": [3, 3, 3] if i % 3 == 1 else [1, 1, 1], "family": "grouped" if i % 3 == 1 else "pointwise",
            "depth": depth, "relevance": [float(r) for r in relevance],
        })  # fmt: skip
        chosen[i] = [int(k) for k in np.argsort(-relevance)[:24]]
        levels.append({
            "depth": depth,
            "kernels": [{"layer": name, "kernel": k, "relevance": float(relevance[k])} for k in chosen[i]],
        })  # fmt: skip
    head = {
        "name": "fc", "op": "Gemm", "weight": "fc.w", "nodes": ["fc"], "kernels": 400, "channels": widths[-1],
        "groups": 1, "kernel_shape": [], "family": "dense", "depth": 0, "relevance": [0.0] * 400,
    }  # fmt: skip
    each = max(1, links // (24 * layers) - 1)
    edges = [edge("fc", 7, chosen[layers - 1], names[layers - 1], rng)]
    for i in range(1, layers):
        for kernel in chosen[i]:
            made = edge(names[i], kernel, rng.choice(chosen[i - 1], min(each, 24), replace=False), names[i - 1], rng)
            if i > 3 and i % 3 == 0:
                extra = edge(names[i], kernel, rng.choice(chosen[i - 3], 2), names[i - 3], rng, via="shortcut")
                made["channels"] += extra["channels"]
            edges.append(made)
    edges += [edge(names[0], kernel, [0, 1, 2], None, rng) for kernel in chosen[0]]
    target = {
        "output": "logits", "index": 7, "label": "archery", "score": 14.25,
        "top": [
            [7, "archery", 14.25], [3, "golf driving", 9.5], [11, "playing cello", 2.1],
            [12, "bowling", -0.4], [13, "surfing water", -1.75],
        ],
    }  # fmt: skip
    small, _ = demo_parts()
    pyramid = {
        **small, "target": target, "layers": [*found, head], "levels": levels[::-1], "edges": edges,
        "model": {**small["model"], "file": "models/resnet152_3d.onnx"},
        "run": {**small["run"], "links_omitted": 1234},
        "coverage": {"channels": 0.9987, "layers": 1.0, "operators_unknown": ["com.vendor::Fancy"]},
    }  # fmt: skip
    size = (16, 112, 112)
    return payload(pyramid, chain_topology(pyramid), media_of("video", size), tubes(pyramid, size, per_layer=4))


def edge(layer, kernel, units, source, rng, *, via="chain") -> dict[str, Any]:
    weights = rng.uniform(0.1, 1.0, len(units))
    return {
        "layer": layer, "kernel": int(kernel),
        "channels": [
            {
                "channel": int(u), "weight": float(w),
                "sources": [{"layer": source, "kernel": int(u), "share": 1.0, "via": via}],
            }
            for u, w in zip(units, weights, strict=True)
        ],
    }  # fmt: skip


def chain_topology(pyramid: dict[str, Any]) -> dict[str, Any]:
    layers = pyramid["layers"]
    names = [layer["name"] for layer in layers]
    wires = []
    for i, name in enumerate(names):
        origins = [{"layer": names[i - 1], "via": "chain"}] if i else [{"layer": None, "input": "clip", "via": "chain"}]
        if i > 3 and i % 3 == 0:
            origins.append({"layer": names[i - 3], "via": "shortcut"})
        wires.append({"layer": name, "from": origins})
    shortcuts = [
        {"node": f"add{i}", "kind": "identity", "paths": [[names[i - 1]], [names[i - 3]]]}
        for i in range(6, len(names), 3)
    ]
    return {
        "schema": "cfp-onnx/topology", "schema_version": 1, "model": pyramid["model"], "output": "logits",
        "coverage": pyramid["coverage"],
        "layers": [{k: v for k, v in layer.items() if k != "relevance"} for layer in layers],
        "wires": wires, "branches": [], "shortcuts": shortcuts, "gates": [],
        "fibers": [{"layer": x["name"], "groups": x["groups"], "split": False} for x in layers if x["groups"] > 1],
    }  # fmt: skip


#: What a stranger's file may call its layers.
HOSTILE = (
    "</script><script>window.pwned=1</script>",
    '"><img src=x onerror=window.pwned=1>',
    "<!--<script>",
    "]]>&amp;{{payload}}{{script}}",
    "\x1b[31mred\r\nnewline\x00",
    "\ud800 lone",
    "\u202egnp.exe\u2028\u2029",
    "'=cmd|' /C calc'!A0",
    "x" * 100_000,
    "__proto__",
)


def hostile() -> dict[str, Any]:
    """Every name replaced by one that tries to be something else."""
    start = demo()
    names = [layer["name"] for layer in start["topology"]["layers"]]
    new = {name: HOSTILE[i] if i < len(HOSTILE) else f"{HOSTILE[i % 8]}{i}" for i, name in enumerate(names)}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item) for item in value]
        return new.get(value, value) if isinstance(value, str) else value

    out = renamed(start)
    out["pyramid"]["target"]["label"] = HOSTILE[0]
    out["pyramid"]["target"]["top"][0][1] = HOSTILE[0]
    out["pyramid"]["model"] = {**out["pyramid"]["model"], "file": f"dir/{HOSTILE[1]}", "producer": HOSTILE[4]}
    out["media"]["note"] = HOSTILE[1]
    out["tubes"]["notes"] = [HOSTILE[2]]
    out["facts"] = {HOSTILE[0]: HOSTILE[5], "nested": {HOSTILE[1]: float("nan")}}
    return out
