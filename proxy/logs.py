"""Log lines on standard error, as text for people or JSON for machines, with anything that looks like a key masked."""

import json
import logging
import re
import sys
import time

# Defence in depth: no code logs credentials, but an exception's text may quote one (a URL, a provider's message).
_SECRET = re.compile(
    r"(sk|gsk|pk|xai|key|rk)[-_][A-Za-z0-9_\-]{8,}|AIza[A-Za-z0-9_\-]{8,}|(?i:bearer)\s+\S+|(?<=[?&]key=)[^&\s]+|(?<=://)[^/@\s]*@"
)


def mask_secrets(text: str) -> str:
    """The text with everything that has the shape of a credential replaced."""
    return _SECRET.sub("[redacted]", text)


class _Masking(logging.Formatter):
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        return mask_secrets(super().format(record))


class _JSON(_Masking):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask_secrets(record.getMessage()),
        }
        if record.exc_info:
            line["error"] = mask_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def set_up(level: str, style: str, role: str) -> None:
    """Configures the process' logging: `level` as in the configuration, `style` text or json, `role` in every line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JSON() if style == "json" else _Masking(f"%(asctime)s %(levelname)s {role} %(name)s %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # aiohttp logs every malformed request with a traceback; ours says it in one line.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
