"""What can go wrong between us and Redis. All are 503 for the caller: we must act, and the call was not paid.

Messages are public and never quote what Redis said: an error reply may repeat the arguments of a command. The reply's
first word is in `kind`; its whole text, cut, is in `detail` and is for logs about administration commands only.
"""

from collections.abc import Callable

from proxy.core.errors import Conflict, InvalidRequest, Unavailable

DETAIL_LIMIT = 200  # characters


class RedisUnavailable(Unavailable):
    """The command was not sent: nothing happened, and the caller may decide to send it again."""

    code = "redis_unavailable"


class RedisAmbiguous(Unavailable):
    """The command was sent and its reply is lost: it may or may not have been applied."""

    code = "redis_ambiguous"


class ScriptRefused(Unavailable):
    """Redis answered with an error: nothing was changed. `kind` is its first word: OOM, READONLY, LOADING, ..."""

    code = "redis_refused"

    def __init__(self, reply: str) -> None:
        self.kind = reply.partition(" ")[0][:40]
        self.detail = reply[:DETAIL_LIMIT]
        super().__init__(f"The credit store refused ({self.kind}). Try again shortly.")


class ScriptMissing(ScriptRefused):
    """NOSCRIPT: Redis was restarted or its script cache flushed. Load the script and run it again."""


class EpochMismatch(ScriptRefused):
    """This Redis is not the one that SQL belongs to, or it has lost its data: paid traffic stops until a rebuild."""

    code = "epoch_mismatch"


class ServerUnfit(Unavailable):
    """The server would lose or evict balances; `refusals` has one sentence for each reason."""

    code = "redis_unfit"

    def __init__(self, refusals: tuple[str, ...]) -> None:
        self.refusals = refusals
        super().__init__(" ".join(refusals))


def reply_error(reply: str) -> Exception:
    """The typed error for an error reply, by its first word; two of our scripts' own are the caller's to hear of."""
    kind = reply.partition(" ")[0]
    return _BY_KIND.get(kind, ScriptRefused)(reply)


def _conflict(_reply: str) -> Conflict:
    return Conflict()


def _out_of_range(_reply: str) -> InvalidRequest:
    return InvalidRequest("The amount is more than the account can count (2^53-1 microcredits in all).", param="amount")


_BY_KIND: dict[str, Callable[[str], Exception]] = {
    "NOSCRIPT": ScriptMissing,
    "EPOCH": EpochMismatch,
    "CONFLICT": _conflict,
    "RANGE": _out_of_range,
}
