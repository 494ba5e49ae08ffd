"""A small bank CRM over HTTP, filled with synthetic clients; see README.md."""

from .app import create_app
from .seed import SAMPLES, Samples

__all__ = ["SAMPLES", "Samples", "create_app"]
