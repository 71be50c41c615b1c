"""OpenAI's moderations: https://platform.openai.com/docs/api-reference/moderations, which OpenAI bills nothing for.

Other providers bill their own moderation models by the token on the same path; such a model is refused, not given away.
"""

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import FREE, NO_HEAD, Ask, Head, Meter, Path
from proxy.providers.meters import PlainMeter
from proxy.providers.passing import AsItCame
from proxy.providers.prompts import texts_of
from proxy.providers.reading import read_model, top_level
from proxy.providers.usage_reading import is_given

METERED = frozenset(("model",))
DEFAULT_MODEL = "omni-moderation-latest"  # OpenAI's own, where the request names none
_FREE_PREFIXES = ("omni-moderation-", "text-moderation-")


class Moderations(AsItCame):
    """`POST /moderations`."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/moderations", "/v1/moderations"),)
    billing = FREE

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - everything is in the body
        """What the request asks for. Raises InvalidRequest for a model that is not one of OpenAI's free ones."""
        members = top_level(body, METERED)
        named = "model" in members and is_given(members["model"])
        model = read_model(members) if named else DEFAULT_MODEL
        if not model.startswith(_FREE_PREFIXES):
            raise InvalidRequest("Only OpenAI's moderation models are free of charge, and open here.", param="model")
        return Ask(model=model, output_limit=0)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - one kind of answer
        """A meter that finds nothing to charge."""
        return _Unbilled()

    def prompt_text(self, body: bytes) -> str:
        """The input."""
        return texts_of(body, ("input",))


class _Unbilled(PlainMeter):
    """An answer that costs nothing."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:  # noqa: ARG002 - nothing in it is billed
        self.complete = True
