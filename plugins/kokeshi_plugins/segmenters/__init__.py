"""Methods that label every pixel of an image."""

from . import basnet, lraspp

PLUGINS = (basnet.METHOD, basnet.CHECKPOINT, lraspp.METHOD, lraspp.CHECKPOINT)
