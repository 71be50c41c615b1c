"""Operations whose requests go out as they came: their providers tell the usage without being asked for it."""

from proxy.providers.dialect import Ask
from proxy.providers.reading import with_model


class AsItCame:
    """What such operations have in common."""

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - nothing has to be asked for
        """The same bytes; a body that names its model gets the provider's own name for it."""
        return body if model is None else with_model(body, model)
