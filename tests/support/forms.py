"""Forms as clients send them."""

from proxy.providers.dialect import Head

BOUNDARY = "4f2-AbC"
FORM = Head(content_type=f"multipart/form-data; boundary={BOUNDARY}".encode())


def form(files: dict[str, bytes], **fields: str) -> bytes:
    """A form with files and plain fields; `name[]` is spelled `name__`."""
    parts = []
    for name, text in fields.items():
        parts.append(f'Content-Disposition: form-data; name="{name.replace("__", "[]")}"\r\n\r\n{text}'.encode())
    for name, content in files.items():
        head = (
            f'Content-Disposition: form-data; name="{name}"; filename="a.bin"\r\nContent-Type: application/octet-stream'
        )
        parts.append(head.encode() + b"\r\n\r\n" + content)
    mark = b"--" + BOUNDARY.encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"
