"""Every path that the SDKs of Google's two APIs call leads to its operation, and no unmetered one leads anywhere."""

import re

import pytest

from proxy.providers.gemini_paths import GEMINI_OPERATIONS, OPERATIONS, VERTEX_OPERATIONS

PLACE = "/projects/p/locations/global"


def found(path: str, *, shared: bool = True, dialect: str | None = None) -> set[tuple[str, str]]:
    names = set()
    for operation in OPERATIONS:
        for one in operation.paths:
            template = one.shared if shared else one.suffix
            if template is None or dialect not in {None, operation.dialect}:
                continue
            if re.fullmatch(re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(template)), path):
                names.add((operation.dialect, type(operation).__name__))
    return names


@pytest.mark.parametrize("version", ["v1beta", "v1"])
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("generateContent", "GenerateContent"),
        ("streamGenerateContent", "GenerateContent"),
        ("countTokens", "CountTokens"),
        ("embedContent", "EmbedContent"),
        ("batchEmbedContents", "BatchEmbedContents"),
    ],
)
def test_the_gemini_api(version: str, method: str, name: str) -> None:
    assert found(f"/{version}/models/gemini-2.5-flash:{method}") == {("gemini", name)}


@pytest.mark.parametrize("version", ["v1beta1", "v1"])
@pytest.mark.parametrize("place", [PLACE, ""])
@pytest.mark.parametrize(
    ("rest", "name"),
    [
        ("google/models/gemini-2.5-flash:generateContent", "GenerateContent"),
        ("google/models/gemini-2.5-flash:streamGenerateContent", "GenerateContent"),
        ("google/models/gemini-2.5-flash:countTokens", "CountTokens"),
        ("google/models/gemini-2.5-flash:computeTokens", "CountTokens"),
        ("google/models/gemini-embedding-2:embedContent", "EmbedContent"),
        ("google/models/text-embedding-005:predict", "Predict"),
        ("anthropic/models/claude-sonnet-4@20250514:rawPredict", "RawPredict"),
        ("anthropic/models/claude-sonnet-4@20250514:streamRawPredict", "RawPredict"),
    ],
)
def test_vertex(version: str, place: str, rest: str, name: str) -> None:
    assert found(f"/{version}{place}/publishers/{rest}") == {("vertex", name)}


def test_a_gateway_of_the_gemini_dialect_may_be_asked_by_vertexs_paths_under_its_own_name() -> None:
    path = f"/v1beta1{PLACE}/publishers/google/models/gemini-2.5-flash:generateContent"
    assert found(path, shared=False, dialect="gemini") == {("gemini", "GenerateContent")}


def test_tuned_models_and_endpoints() -> None:
    assert found("/v1beta/tunedModels/mine:generateContent") == {("gemini", "GenerateContent")}
    assert found(f"/v1{PLACE}/endpoints/123:streamGenerateContent") == {("vertex", "GenerateContent")}


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
        "/v1beta/models/veo-3:predictLongRunning",
        "/v1beta/models/imagen-4:predict",
        "/v1beta/cachedContents",
        "/upload/v1beta/files",
        f"/v1{PLACE}/publishers/mistralai/models/mistral-large:rawPredict",
        f"/v1{PLACE}/publishers/google/models/gemini-2.5-flash:rawPredict",
        f"/v1{PLACE}/batchPredictionJobs",
    ],
)
def test_what_has_no_meter_is_not_open(path: str) -> None:
    assert found(path) == set()


def test_no_dialect_has_a_path_twice() -> None:
    for operations in (GEMINI_OPERATIONS, VERTEX_OPERATIONS):
        suffixes = [path.suffix for operation in operations for path in operation.paths]
        assert len(suffixes) == len(set(suffixes))
