"""Every open operation of the dialect "bedrock"."""

from proxy.providers.bedrock_converse import OPERATIONS as CONVERSE
from proxy.providers.bedrock_invoke import OPERATIONS as INVOKE
from proxy.providers.dialect import Operation

OPERATIONS: tuple[Operation, ...] = (*CONVERSE, *INVOKE)
