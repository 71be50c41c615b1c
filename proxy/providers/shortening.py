"""A request's JSON with its longest strings cut short, for reading what is around them.

Large prompts and images in base64 are a few enormous strings. Reading such a body costs as much as all the rest of a call,
and what is read of it, names and small values, is elsewhere. Finding one byte is twenty times quicker than reading JSON.
"""

# Shorter runs are not worth looking for: a body is probed once for each such length.
RUN_BYTES = 8 * 1024
# So much of a run stays that a name in it is still too long to be one (256 characters of four bytes), and begins as it did.
KEPT_BYTES = 1032
_CUT = b"~"  # stands in no JSON outside of strings


def shortened(body: bytes) -> bytes:
    r"""The same JSON document with every long run of plain string text cut short; the same object where there is none.

    Only what is between two quotes, with neither quote nor backslash in it, is cut, behind its first `KEPT_BYTES`. Inside a
    string that leaves the string's borders where they were. Outside of strings (a long list of numbers) it leaves a mark that
    no JSON has, so that the result cannot be read: then read the whole body. What is taken out is not checked for control
    characters; the provider refuses those.
    """
    kept: list[bytes] = []
    kept_to = 0
    position = RUN_BYTES
    while position + RUN_BYTES < len(body):
        if body.find(b'"', position, position + RUN_BYTES) >= 0:
            position += RUN_BYTES
            continue
        start = body.rfind(b'"', kept_to, position) + 1
        end = body.find(b'"', position + RUN_BYTES)
        if not start or end < 0:
            break
        if body.find(b"\\", start, end) < 0:
            cut = start + KEPT_BYTES
            while body[cut] & 0xC0 == 0x80:  # within a character
                cut -= 1
            kept += (body[kept_to:cut], _CUT)
            kept_to = end
        position = end
    if not kept:
        return body
    kept.append(body[kept_to:])
    return b"".join(kept)
