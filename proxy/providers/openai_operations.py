"""Every operation of OpenAI's dialect that is open: a row each. What each costs is in the file of its name."""

from proxy.providers.dialect import Operation
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.openai_completions import Completions
from proxy.providers.openai_embeddings import Embeddings
from proxy.providers.openai_images import ImageEdits, ImageGenerations, ImageVariations
from proxy.providers.openai_moderations import Moderations
from proxy.providers.openai_responses import Compact, InputTokens, Responses
from proxy.providers.openai_speech import Speech
from proxy.providers.openai_stored_responses import CancelResponse, DeleteResponse, ListInputItems, RetrieveResponse
from proxy.providers.openai_transcriptions import Transcriptions, Translations
from proxy.providers.rerank import Rerank

OPERATIONS: tuple[Operation, ...] = (
    ChatCompletions(),
    Completions(),
    Responses(),
    Compact(),
    InputTokens(),
    RetrieveResponse(),
    CancelResponse(),
    DeleteResponse(),
    ListInputItems(),
    Embeddings(),
    Moderations(),
    ImageGenerations(),
    ImageEdits(),
    ImageVariations(),
    Speech(),
    Transcriptions(),
    Translations(),
    Rerank(),
)
