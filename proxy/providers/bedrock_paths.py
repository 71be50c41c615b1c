"""Where Bedrock's operations are, and the model that their path names.

`{model}` is one segment of the path: a model id, the id of an inference profile, or an ARN, percent-encoded where it holds
`:` or `/`, as the AWS SDKs write it. What is sent on is encoded in the same way (`quote(model, safe="-_.~")`), so that the
bytes on the wire are the ones an SDK would send, and a signature covers them: the canonical path of Signature Version 4
encodes that segment once more (`%3A` becomes `%253A`), as it does for every service but S3.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (canonical URI).
"""

import re

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import Head, Path
from proxy.providers.reading import MAX_MODEL_CHARS

# The alphabet of model ids and ARNs (ConversationalModelId); dots alone would be a step up in the path.
_MODEL = re.compile(r"(?!\.+$)[A-Za-z0-9._:/-]+")
_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")


def model_path(operation: str) -> tuple[Path, ...]:
    """The path of an operation on a model, behind the provider's base URL and without a provider."""
    template = f"/model/{{model}}/{operation}"
    return (Path(template, template),)


def model_of(head: Head) -> str:
    """The model that the path names, decoded; raises InvalidRequest."""
    model = head.params.get("model", "")
    if len(model) > MAX_MODEL_CHARS or not _MODEL.fullmatch(model) or _DOTS.search(model):
        raise InvalidRequest("The path must name a model id or an ARN, percent-encoded.", param="modelId")
    return model
