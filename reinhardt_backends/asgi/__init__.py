"""Middlewares for ASGI applications: a throttle, and sessions kept in a backend.

They speak ASGI and nothing else, so they fit any framework and any server, on asyncio and trio, for HTTP and websockets
alike. Other scopes, such as ``lifespan``, pass through untouched.
"""

from __future__ import annotations

from ._client import ClientAddress
from ._cookies import SameSite
from ._session import SessionErrorPolicy, SessionMiddleware
from ._throttle import RefusalBody, ThrottleMiddleware
from ._web_session import WebSession

__all__ = [
    "ClientAddress",
    "RefusalBody",
    "SameSite",
    "SessionErrorPolicy",
    "SessionMiddleware",
    "ThrottleMiddleware",
    "WebSession",
]
