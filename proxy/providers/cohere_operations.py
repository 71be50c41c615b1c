"""Every open operation of the dialect "cohere"."""

from proxy.providers.cohere_chat import OPERATIONS as CHAT
from proxy.providers.cohere_embed import OPERATIONS as EMBED
from proxy.providers.dialect import Operation

OPERATIONS: tuple[Operation, ...] = (*CHAT, *EMBED)
