"""The bodies that callers send."""

from __future__ import annotations

from typing import Any

import msgspec

from npu_jupyter.errors import InvalidRequest


def parse_object(body: bytes) -> dict[str, Any]:
    """Read one JSON object, strictly: NaN, Infinity and lone surrogates are no JSON.

    Raises:
        InvalidRequest: saying what it is instead.
    """
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest("The body is nested too deep.") from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not UTF-8.") from None
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidRequest('The body must be a JSON object, such as {"model": …}')
    return value
