"""Classifiers whose penultimate vector is the embedding."""

from . import convnext, mobilenet_v2, mobilenet_v3, off_the_shelf, swin

PLUGINS = (
    convnext.METHOD,
    *convnext.CHECKPOINTS,
    mobilenet_v2.METHOD,
    *mobilenet_v2.CHECKPOINTS,
    mobilenet_v3.METHOD,
    *mobilenet_v3.CHECKPOINTS,
    off_the_shelf.TIMM,
    off_the_shelf.TORCHVISION,
    swin.METHOD,
    *swin.CHECKPOINTS,
)
