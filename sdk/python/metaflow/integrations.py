"""Short names of what works with other systems."""

from .plugins.argo.argo_events import ArgoEvent

__all__ = ["ArgoEvent"]
