"""ASGI middleware, from the outside in: request log, tracing, CORS (Starlette's), API keys."""
