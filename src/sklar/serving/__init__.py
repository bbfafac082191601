"""A trained model behind HTTP, for one machine: `sklar serve`. FastAPI is known here only."""

from sklar.serving.app import Settings, application
from sklar.serving.server import LOOPBACK, serve, server

__all__ = ["LOOPBACK", "Settings", "application", "serve", "server"]
