"""The HTTP door: REST under /v1, OpenAI's /v1/embeddings, health, metrics and the docs."""

from kokeshi.gateway.http.app import make_app

__all__ = ["make_app"]
