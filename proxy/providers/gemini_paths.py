"""Every open operation of Google's two APIs, and where it is.

The Gemini API (dialect `gemini`): `/v1beta/models/{model}:generateContent`, under `/v1` too, as google-genai calls a base URL of
one's own. Vertex AI (dialect `vertex`): `/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:...`,
under `/v1beta1` too; in express mode, with an API key, without project and location. Which project pays and which
location answers is for the configuration to say. A provider of the Gemini dialect may be asked by Vertex AI's paths
too, under its own name: gateways answer for both behind one address. `batchGenerateContent`, `predictLongRunning`, the
Live API, caches, files and tuning have no meter and are not open.

Sources: https://ai.google.dev/api/all-methods,
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/projects.locations.publishers.models,
https://cloud.google.com/vertex-ai/generative-ai/docs/start/express-mode/overview.
"""

from collections.abc import Iterable

from proxy.providers.dialect import Operation, Path
from proxy.providers.gemini_content import CountTokens, GenerateContent
from proxy.providers.gemini_embeddings import BatchEmbedContents, EmbedContent, Predict
from proxy.providers.vertex_anthropic import RawCountTokens, RawPredict

GEMINI, VERTEX = "gemini", "vertex"

_GEMINI_VERSIONS = ("/v1beta", "/v1")
_VERTEX_VERSIONS = ("/v1", "/v1beta1")
_PLACE = "/projects/{project}/locations/{location}"


def _shared(templates: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(template, template) for template in templates)


def _owned(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The same paths, only under a provider's name."""
    return tuple(Path(path.suffix, None) for path in paths)


def _gemini(method: str, *, tuned: bool = False) -> tuple[Path, ...]:
    names = ("models/{model}", "tunedModels/{tuned_model}") if tuned else ("models/{model}",)
    return _shared(f"{version}/{name}:{method}" for version in _GEMINI_VERSIONS for name in names)


def _vertex(
    method: str, publisher: str = "google", model: str = "{model}", *, endpoints: bool = False
) -> tuple[Path, ...]:
    published = f"/publishers/{publisher}/models/{model}:{method}"
    templates = [f"{version}{place}{published}" for version in _VERTEX_VERSIONS for place in (_PLACE, "")]
    if endpoints:
        templates += [f"{version}{_PLACE}/endpoints/{{endpoint}}:{method}" for version in _VERTEX_VERSIONS]
    return _shared(templates)


_GENERATE = _vertex("generateContent", endpoints=True)
_STREAM = _vertex("streamGenerateContent", endpoints=True)
_COUNT = (*_vertex("countTokens"), *_vertex("computeTokens"))
_EMBED, _PREDICT = _vertex("embedContent"), _vertex("predict")

GEMINI_OPERATIONS: tuple[Operation, ...] = (
    GenerateContent(GEMINI, (*_gemini("generateContent", tuned=True), *_owned(_GENERATE))),
    GenerateContent(GEMINI, (*_gemini("streamGenerateContent", tuned=True), *_owned(_STREAM)), stream=True),
    CountTokens(GEMINI, (*_gemini("countTokens"), *_owned(_COUNT))),
    EmbedContent(GEMINI, (*_gemini("embedContent"), *_owned(_EMBED))),
    BatchEmbedContents(GEMINI, _gemini("batchEmbedContents")),
    Predict(GEMINI, _owned(_PREDICT)),
)

VERTEX_OPERATIONS: tuple[Operation, ...] = (
    GenerateContent(VERTEX, _GENERATE),
    GenerateContent(VERTEX, _STREAM, stream=True),
    CountTokens(VERTEX, _COUNT),
    EmbedContent(VERTEX, _EMBED),
    Predict(VERTEX, _PREDICT),
    RawPredict(VERTEX, _vertex("rawPredict", "anthropic")),
    RawPredict(VERTEX, _vertex("streamRawPredict", "anthropic"), stream=True),
    RawCountTokens(VERTEX, _vertex("rawPredict", "anthropic", "count-tokens")),
)

OPERATIONS: tuple[Operation, ...] = GEMINI_OPERATIONS + VERTEX_OPERATIONS
