"""Azure OpenAI: OpenAI's operations at Azure's paths, metered alike.
https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference and /openai/latest (the `v1` paths).

A model goes by the name of its deployment: in the path under `/openai/deployments/{model}/`, where the body's own `model` means
nothing, and in the body under `/openai/v1/`. Older paths want the query member `api-version`.
"""

from collections.abc import Iterable, Iterator

from proxy.providers.clamping import Clamps
from proxy.providers.dialect import NO_HEAD, Ask, Head, Meter, Operation, Path
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.openai_completions import Completions
from proxy.providers.openai_embeddings import Embeddings
from proxy.providers.openai_images import ImageEdits, ImageGenerations
from proxy.providers.openai_operations import OPERATIONS as OPENAI_OPERATIONS
from proxy.providers.openai_responses import Compact, InputTokens, Responses
from proxy.providers.openai_speech import Speech
from proxy.providers.openai_stored_responses import CancelResponse, DeleteResponse, ListInputItems, RetrieveResponse
from proxy.providers.openai_transcriptions import Transcriptions, Translations
from proxy.providers.rows import Names
from proxy.providers.token_limits import NEWER, SURE

# What the `openai` package sends to a deployment's path (`_deployments_endpoints` in its lib/azure.py).
_DEPLOYED: tuple[Operation, ...] = (
    ChatCompletions(),
    Completions(),
    Embeddings(),
    Transcriptions(),
    Translations(),
    Speech(),
    ImageGenerations(),
    ImageEdits(),
)
# What has the model in its body and was offered before `v1` was, with an api-version.
_DATED: tuple[Operation, ...] = (
    Responses(),
    Compact(),
    InputTokens(),
    RetrieveResponse(),
    CancelResponse(),
    DeleteResponse(),
    ListInputItems(),
)
# Azure serves neither moderations nor reranking in OpenAI's shape.
_ABSENT = frozenset(("/moderations", "/rerank", "/images/variations"))


class AzureOperation:
    """One of OpenAI's operations at other paths. `deployed`: the path names the model, so the body is never renamed."""

    dialect = "azure"

    def __init__(self, operation: Operation, base: str, *, deployed: bool = False) -> None:
        self._operation = operation
        self._deployed = deployed
        self.method = operation.method
        self.billing = operation.billing
        self.paths = tuple(Path(base + path.suffix, None) for path in operation.paths)

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for."""
        return self._operation.read(body, head)

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:
        """The body to send; a deployment's other name goes into the path."""
        return self._operation.outgoing(body, ask, None if self._deployed else model)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """The meter of OpenAI's operation."""
        return self._operation.meter(ask, content_type)

    def prompt_text(self, body: bytes) -> str:
        """The texts of OpenAI's operation."""
        return self._operation.prompt_text(body)


class AzureLimited(AzureOperation):
    """One whose requests can say how many tokens an answer may have."""

    def __init__(self, operation: Operation, limited: Clamps, base: str, *, deployed: bool) -> None:
        super().__init__(operation, base, deployed=deployed)
        self._limited = limited

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:  # noqa: ARG002 - on Azure the members are OpenAI's own
        """See `clamping.Clamps`."""
        return self._limited.clamp(body, limit, (NEWER, *SURE))


def _at(base: str, operations: Iterable[Operation], *, deployed: bool = False) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, Clamps):
            yield AzureLimited(operation, operation, base, deployed=deployed)
        else:
            yield AzureOperation(operation, base, deployed=deployed)


OPERATIONS: tuple[Operation, ...] = (
    *_at("/openai/deployments/{model}", _DEPLOYED, deployed=True),
    *_at("/openai", _DATED),
    *_at("/openai/v1", [one for one in OPENAI_OPERATIONS if one.paths[0].suffix not in _ABSENT]),
)
