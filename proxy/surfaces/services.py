"""Services, as mountsea's page groups calls: a name and a lasting UUID for each kind of call.

Which service a call belongs to is said once, by the view `served_calls` (migration 0004), from the path that it came to.
"""

import uuid

_NAMESPACE = uuid.UUID("2b6d1f5e-90b3-5d0a-8f5b-0f9a4f0e6c11")

SERVICES = ("chat", "embeddings", "images", "audio", "moderations", "rerank", "other")

ID_OF = {name: str(uuid.uuid5(_NAMESPACE, name)) for name in SERVICES}
NAME_OF = {identifier: name for name, identifier in ID_OF.items()}
