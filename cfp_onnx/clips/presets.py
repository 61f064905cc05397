"""Preprocessing that published weights were trained with."""

from __future__ import annotations

from cfp_onnx.clips.preprocess import Preprocess

_KINETICS_MEAN = (124 / 255, 117 / 255, 104 / 255)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_RESNET_3D = Preprocess(frames=16, size=(112, 112), short_side=128, mean=_KINETICS_MEAN, std=_IMAGENET_STD, yields=True)

PRESETS: dict[str, Preprocess] = {
    "resnet3d": _RESNET_3D,
    "resnet50-3d": _RESNET_3D,
    "resnet101-3d": _RESNET_3D,
    "resnet152-3d": _RESNET_3D,
    "resnext101-3d": _RESNET_3D,
    # MF-Net's own code computes (x - mean) * 0.0167 on the 0..255 scale.
    "mfnet": Preprocess(
        frames=16,
        size=(224, 224),
        short_side=256,
        mean=_KINETICS_MEAN,
        std=(1 / (0.0167 * 255),) * 3,
        yields=True,
    ),
    "i3d": Preprocess(size=(224, 224), short_side=256, mean=(0.5,) * 3, std=(0.5,) * 3, yields=True),
    "imagenet": Preprocess(size=(224, 224), short_side=256, mean=(0.485, 0.456, 0.406), std=_IMAGENET_STD, yields=True),
}
"""Preprocessing that the published weights of a family were trained with."""
