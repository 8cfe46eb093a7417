"""The query parameters of a path.

A parameter that the path does not have is refused: to ignore a misspelt one would answer another question.
"""

from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import MalformedRequestError, describe_first_error


class Parameters(BaseModel):
    """The base of all parameters. As it is, those of a path that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnyParameters = TypeVar("AnyParameters", bound=Parameters)


def parse_query(query_string: bytes, model: type[AnyParameters]) -> AnyParameters:
    """Parse a query string. Of a parameter that is given twice, the last value counts.

    Raises:
        MalformedRequestError: A parameter is unknown or has a wrong value. The message does not repeat the value.
    """
    values = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)) if query_string else {}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        if values.keys() - model.model_fields.keys():
            allowed = f"only {' and '.join(model.model_fields)}" if model.model_fields else "none"
            raise MalformedRequestError(f"The query has an unknown parameter. This path has {allowed}.") from None
        raise MalformedRequestError(f"query.{describe_first_error(error.errors(include_url=False))}.") from None
