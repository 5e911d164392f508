"""What stands around the routes of either server: reports, the check of Host and Origin, and CORS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from .exchanges import ExchangeReports, OnExchange
from .origins import OriginCheck, OriginPolicy


def with_middleware(
    *,
    routes: Sequence[BaseRoute],
    exception_handlers: Mapping[Any, Callable[..., Any]],
    allowed: OriginPolicy | None,
    on_exchange: OnExchange | None,
) -> Starlette:
    """An application with these routes, which answers only what is `allowed`: by default, this machine."""
    return Starlette(
        routes=routes,
        exception_handlers=exception_handlers,
        middleware=[
            Middleware(ExchangeReports, on_exchange),
            Middleware(OriginCheck, allowed or OriginPolicy()),
            # Whose page comes this far may read the answer.
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["X-Request-Id"],
                allow_private_network=True,
            ),
        ],
    )
