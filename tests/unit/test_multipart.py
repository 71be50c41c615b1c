import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.providers.multipart import MAX_PARTS, Form, is_multipart, read_form, with_field

BOUNDARY = "4f2-AbC"
TYPE = f"multipart/form-data; boundary={BOUNDARY}".encode()
METERED = ("model", "n", "stream")
SOUND = b"RIFF\r\n\r\n--\r\n--4f2-AbX\r\nContent-Disposition: form-data; name=n\r\n\r\n9"


def part(headers: str, content: bytes) -> bytes:
    return b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), headers.encode(), content)


def field(name: str, content: str) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', content.encode())


def file(name: str, content: bytes, file_name: str = "a.wav") -> bytes:
    headers = f'Content-Disposition: form-data; name="{name}"; filename="{file_name}"\r\nContent-Type: audio/wav'
    return part(headers, content)


def form(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY.encode() + end


def read(body: bytes, content_type: bytes = TYPE) -> Form:
    return read_form(body, content_type, METERED)


def refused(body: bytes, content_type: bytes = TYPE) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        read(body, content_type)
    return caught.value.param


def test_fields_are_read_and_files_only_measured() -> None:
    body = form(field("model", "whisper-1"), file("file", SOUND), field("prompt", "é" * 9000), field("n", "2"))
    found = read(body)
    assert {name: one.text for name, one in found.fields.items()} == {"model": "whisper-1", "n": "2"}
    assert [(one.name, body[one.start : one.end], one.size) for one in found.files] == [("file", SOUND, len(SOUND))]
    assert found.text_bytes == len(body) - len(SOUND)
    assert found.required("model") == "whisper-1"
    assert (found.count("n", 1, 10), found.count("stream", 1, 10), found.switch("stream")) == (2, None, False)


def test_a_body_that_was_gathered_in_pieces_is_read_as_well() -> None:
    body = bytearray(form(MODEL, file("file", SOUND)))
    found = read(body)
    assert (found.required("model"), found.files[0].size) == ("m", len(SOUND))
    assert with_field(body, found.fields["model"], "x") == form(field("model", "x"), file("file", SOUND))
    refused(body + b"epilogue")


@pytest.mark.parametrize(
    "content_type",
    [
        TYPE,
        TYPE.upper().replace(BOUNDARY.upper().encode(), BOUNDARY.encode()),
        f'multipart/form-data;boundary="{BOUNDARY}"'.encode(),
        f"multipart/form-data; charset=utf-8; boundary={BOUNDARY}".encode(),
        f"multipart/form-data; boundary={BOUNDARY}; charset=utf-8".encode(),
        b"  " + TYPE + b" ",
    ],
)
def test_content_types_as_clients_write_them(content_type: bytes) -> None:
    assert is_multipart(content_type.strip())
    assert read(form(field("model", "m")), content_type).text("model") == "m"


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=" + b"x" * 71,
        b"multipart/form-data; boundary=a b",
        b'multipart/form-data; boundary="',
        b"multipart/mixed; boundary=4f2-AbC",
        b"application/json",
        b"multipart/form-data; boundary=4F2-ABC",
        b"",
    ],
)
def test_a_content_type_without_the_bodys_boundary_is_refused(content_type: bytes) -> None:
    refused(form(field("model", "m")), content_type)


MODEL = field("model", "m")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        form(),
        b"preamble\r\n" + form(MODEL),
        b"\r\n" + form(MODEL),
        form(MODEL, end=b"--\r\nepilogue"),
        form(MODEL, end=b"--x"),
        form(MODEL, end=b""),
        form(MODEL)[:-10],
        form(MODEL).replace(b"\r\n", b"\n"),
        form(part("Content-Disposition: form-data", b"m")),
        form(part("Content-Type: text/plain", b"m")),
        form(part('Content-Disposition: attachment; name="model"', b"m")),
        form(part('Content-Disposition: form-data; name="model"; name="n"', b"m")),
        form(part("Content-Disposition: form-data; name=\"model\"; name*=utf-8''n", b"m")),
        form(part('Content-Disposition: form-data; name="mo\\"del"', b"m")),
        form(part('Content-Disposition: form-data; name="mod%65l"', b"m")),
        form(part('Content-Disposition: form-data; name="model"\r\nContent-Disposition: form-data; name="n"', b"m")),
        form(part('Content-Disposition: form-data;\r\n name="model"', b"m")),
        form(part('Content-Disposition : form-data; name="model"', b"m")),
        form(part("X-Long: " + "x" * 5000 + '\r\nContent-Disposition: form-data; name="model"', b"m")),
        b"--4f2-AbC  \r\n" + form(MODEL)[11:],
        b"--" + BOUNDARY.encode() + b"\r\n\r\nm\r\n" + form(),
        form(field("x", "y\r\n--4f2-AbCDEF\r\nz")),
        form(*[field("x", "y")] * (MAX_PARTS + 1)),
        form(part('Content-Disposition: form-data; name="\xff"', b"m")).replace("\xff".encode(), b"\xff"),
    ],
)
def test_forms_that_could_be_read_in_two_ways_are_refused(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (form(MODEL, field("model", "x")), "model"),
        (form(MODEL, MODEL), "model"),
        (form(field("Model", "m")), "model"),
        (form(file("model", b"m")), "model"),
        (form(field("model", "m" * 1025)), "model"),
        (form(field("model", "a\nb")), "model"),
        (form(field("model", "m").replace(b"\r\n\r\nm", b"\r\n\r\n\xff")), "model"),
        (form(part('Content-Disposition: form-data; name="n"\r\nContent-Transfer-Encoding: base64', b"Mg==")), "n"),
    ],
)
def test_a_metered_field_is_given_once_and_plainly(body: bytes, param: str) -> None:
    assert refused(body) == param


@pytest.mark.parametrize("text", ["-1", "11", "1.5", "two", "\uff11", " 2", "9" * 5000, "+2", "0x2"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(form(field("n", text))).count("n", 0, 10)
    assert caught.value.param == "n"


def test_switches_and_what_must_be_there() -> None:
    for text, value in (("true", True), ("True", True), ("1", True), ("false", False), ("0", False), ("", False)):
        assert read(form(field("stream", text))).switch("stream") is value
    with pytest.raises(InvalidRequest):
        read(form(field("stream", "yes"))).switch("stream")
    for body in (form(field("n", "1")), form(field("model", ""))):
        with pytest.raises(InvalidRequest) as caught:
            read(body).required("model")
        assert caught.value.param == "model"


@given(
    st.lists(st.tuples(st.sampled_from(["prompt", "file", "x[]"]), st.binary(max_size=60))),
    st.text(min_size=1, max_size=40),
)
def test_a_field_is_replaced_and_nothing_else(parts: list[tuple[str, bytes]], text: str) -> None:
    parts = [(name, content) for name, content in parts if BOUNDARY.encode() not in content]
    body = form(*[file(name, content) for name, content in parts], MODEL)
    other = with_field(body, read(body).fields["model"], text)
    assert other == form(*[file(name, content) for name, content in parts], field("model", text))


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    for whole in (body, b"--4f2-AbC\r\n" + body, form(MODEL, body)):
        try:
            assert isinstance(read(whole), Form)
        except InvalidRequest as error:
            assert len(error.message) < 200


def test_a_large_file_is_not_copied() -> None:
    body = form(MODEL, file("file", b"\x00" * 20_000_000))
    tracemalloc.start()
    try:
        read(body)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_second_boundary_in_any_spelling_is_refused() -> None:
    inner = b"--other\r\nContent-Disposition: form-data; name=model\r\n\r\ndear\r\n--other--\r\n"
    body = form(MODEL, file("file", inner))
    own = b"boundary=" + BOUNDARY.encode()
    for again in (
        b"boundary=other",
        b"Boundary=other",
        b"boundary*=utf-8''other",
        b"boundary*0=other",
        b"boundary =other",
    ):
        assert refused(body, b"multipart/form-data; %b; %b" % (again, own)) == "content-type"
        assert refused(body, b"multipart/form-data; %b; %b" % (own, again)) == "content-type"
    assert read(body, b"multipart/form-data; charset=utf-8; " + own).required("model") == "m"
