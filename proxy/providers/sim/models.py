"""The simulated models and how a call can steer one: by the model's suffix, or by a member `sim` in the request body.

`{"sim": {"tokens": 200, "pace_ms": 20}}` is the OpenAI and Anthropic SDKs' `extra_body`. All counts are tokens.
"""

from typing import Annotated

import msgspec

from proxy.core.errors import InvalidRequest, NotFound

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=600_000)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a call is answered with. `tokens` is the natural length of the answer (None: 40 to 60, by the prompt)."""

    tokens: Tokens | None = None
    delay_ms: Milliseconds = 0
    """Before the first byte."""
    pace_ms: Milliseconds = 0
    """Between two tokens of a stream."""
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None
    """Refuse with this status."""
    fail_after: Tokens | None = None
    """Break the connection off after so many tokens."""
    error_after: Tokens | None = None
    """In a stream: an error event after so many tokens."""
    omit_usage: bool = False


_BY_NAME = {
    "sim": Behaviour(),
    "sim-slow": Behaviour(pace_ms=50),
    "sim-long": Behaviour(tokens=1000),
    "sim-error": Behaviour(status=500),
    "sim-cut": Behaviour(fail_after=10),
    "sim-silent": Behaviour(omit_usage=True),
}

SIM_MODELS = tuple(_BY_NAME)
"""The models that do something of their own; every other `sim-*` answers like `sim`."""


def behaviour(model: str, raw: msgspec.Raw | None) -> Behaviour:
    """How to answer: the model's way, with what the member `sim` says in its place. Raises NotFound and InvalidRequest."""
    if model != "sim" and not model.startswith("sim-"):
        raise NotFound(f"The model `{model}` does not exist here; try `sim`.", code="model_not_found", param="model")
    named = _BY_NAME.get(model, _BY_NAME["sim"])
    if raw is None:
        return named
    try:
        asked = msgspec.json.decode(raw, type=Behaviour)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"`sim` cannot be used: {error}", param="sim") from None
    given = {
        name for name in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) if name in Behaviour.__struct_fields__
    }
    return msgspec.structs.replace(named, **{name: getattr(asked, name) for name in given})
