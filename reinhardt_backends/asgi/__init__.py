"""Middlewares for ASGI applications: a throttle, and sessions kept in a backend.

They speak ASGI and nothing else, so they fit any framework and any server, on asyncio and trio, for HTTP and websockets
alike. What is neither, such as ``lifespan``, passes through untouched.
"""

from __future__ import annotations

from ._client import ClientAddress
from ._session import SessionMiddleware
from ._throttle import ThrottleMiddleware
from ._web_session import WebSession

__all__ = ["ClientAddress", "SessionMiddleware", "ThrottleMiddleware", "WebSession"]
