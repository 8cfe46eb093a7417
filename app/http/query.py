"""Refuses query parameters that a path does not have: to ignore a misspelt one would answer another question."""

from urllib.parse import parse_qsl

from starlette.types import Scope

from app.errors import MalformedRequestError


def require_known_parameters(scope: Scope, *known: str) -> None:
    """Check that a query has only these parameters.

    Raises:
        MalformedRequestError: It has another one.
    """
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if any(name not in known for name, _ in query):
        allowed = f"only {' and '.join(known)}" if known else "none"
        raise MalformedRequestError(f"The query has an unknown parameter. This path has {allowed}.")
