"""Bytes that are no call: the daemon refuses them, survives, and serves the next caller."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import grpc
import h2.config
import h2.connection
import pytest
from aigen.v1 import completion_pb2

from tests.e2e.running import Aigend, Warm

MODEL = "gpt-4o-mini"
COMPLETE = "/aigen.v1.CompletionService/Complete"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, emulator_server: tuple, warm: Warm) -> Iterator[Aigend]:
    """One daemon for all tests here, so that what one breaks the next would notice."""
    server, _ = emulator_server
    with closing(Aigend(tmp_path_factory.mktemp("raw") / "a", base_url=server.base_url, warm=warm)) as daemon:
        yield daemon.start()


@pytest.fixture(autouse=True)
def unharmed(house: Aigend) -> Iterator[None]:
    """Whatever was sent, the same process answers afterwards, and its log holds no traceback."""
    yield
    client = house.client()
    assert client.status().process_id == house.pid
    assert client.complete("still there?", model=MODEL).text
    assert "Traceback" not in house.log()
    assert "daemon_fault" not in house.log()


def connected(house: Aigend) -> socket.socket:
    """Return a raw connection to the daemon."""
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(5)
    raw.connect(str(house.socket))
    return raw


def read_all(raw: socket.socket) -> bytes:
    """Return what comes until the other end closes, or says nothing for a moment."""
    raw.settimeout(0.5)
    received = b""
    try:
        while piece := raw.recv(65_536):
            received += piece
    except (TimeoutError, ConnectionResetError):
        pass
    return received


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /aigen.v1.CompletionService/Complete HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"\x00" * 10_000,
        os.urandom(10_000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(5_000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\xff\xff\x01\x25\x00\x00\x00\x01",  # a frame that promises more than it brings
        b"P",
    ],
    ids=["http1-get", "http1-post", "zeros", "random", "preface-random", "half-frame", "one-byte"],
)
def test_garbage_on_the_socket(house: Aigend, data: bytes):
    """Whoever speaks no HTTP/2, or badly, is cut off."""
    with connected(house) as raw:
        try:
            raw.sendall(data)
            read_all(raw)
        except BrokenPipeError:
            pass  # it was cut off while it spoke
    assert house.client().complete("and now in gRPC", model=MODEL).text


def test_connections_that_say_nothing(house: Aigend):
    """Hundreds of connections that never speak do not keep others out."""
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connected(house))
        assert house.client().complete("through the crowd", model=MODEL).text


def over_http2(house: Aigend, body: bytes, *, headers: dict[str, str] | None = None, end: bool = True) -> dict[str, str]:
    """Send one call over hand-made HTTP/2 and return the headers and trailers that come back."""
    with connected(house) as raw:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        connection.initiate_connection()
        usual = {":method": "POST", ":scheme": "http", ":path": COMPLETE, ":authority": "localhost", "te": "trailers"}
        connection.send_headers(1, list((usual | {"content-type": "application/grpc"} | (headers or {})).items()))
        connection.send_data(1, body, end_stream=end)
        raw.sendall(connection.data_to_send())
        told: dict[str, str] = {}
        raw.settimeout(1)
        while data := _received(raw):
            for event in connection.receive_data(data):
                told |= dict(getattr(event, "headers", None) or {})
            raw.sendall(connection.data_to_send())
            if "grpc-status" in told:
                break
        return told


def _received(raw: socket.socket) -> bytes:
    try:
        return raw.recv(65_536)
    except TimeoutError:
        return b""


def framed(message: bytes) -> bytes:
    """Return a message as gRPC frames it."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def test_malformed_protobuf(house: Aigend):
    """Bytes that are no message of the contract are INVALID_ARGUMENT."""
    assert over_http2(house, framed(b"\xff\xff\xff\xff"))["grpc-status"] == "3"


def test_text_that_is_not_utf8(house: Aigend):
    """A prompt with invalid UTF-8 is INVALID_ARGUMENT and says so."""
    message = completion_pb2.CompleteRequest(prompt="ab", model=MODEL).SerializeToString().replace(b"ab", b"\xc3\x28")
    told = over_http2(house, framed(message))
    assert told["grpc-status"] == "3"
    assert "UTF-8" in told["grpc-message"]


def test_call_over_handmade_http2_works(house: Aigend):
    """Control: the same way with a good message is answered."""
    told = over_http2(house, framed(completion_pb2.CompleteRequest(prompt="by hand", model=MODEL).SerializeToString()))
    assert told["grpc-status"] == "0"


def test_frame_that_promises_more_than_the_limit(house: Aigend):
    """A length above the transport's limit is never served and holds nobody up."""
    told = over_http2(house, b"\x00" + (2**31 - 1).to_bytes(4, "big") + b"x", end=False)
    if grpc.__version__.startswith("1.74."):
        assert told == {}  # the floor's gRPC says nothing until the stream ends
    else:
        assert told["grpc-status"] == "8"
    assert house.client().complete("beside a promise", model=MODEL).text


def test_message_above_the_limit(house: Aigend):
    """32 MiB are ours to refuse by name, 33 MiB the transport's."""
    with grpc.insecure_channel(f"unix:{house.socket}", options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(COMPLETE)
        for size, code in ((33_554_433, grpc.StatusCode.INVALID_ARGUMENT), (34_603_009, grpc.StatusCode.RESOURCE_EXHAUSTED)):
            with pytest.raises(grpc.RpcError) as met:
                call(b"\x0a" * size, timeout=10)
            assert met.value.code() is code


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ((("aigen-request-id", "x" * 200),), "aigen-request-id"),
        ((("aigen-accounting-bin", b"\xff\xff\xff"),), "aigen-accounting-bin"),
    ],
)
def test_metadata_that_can_not_be_read(house: Aigend, metadata: tuple, field: str):
    """An id that is too long and accounting that is no message are refused by name."""
    with grpc.insecure_channel(f"unix:{house.socket}") as channel:
        message = completion_pb2.CompleteRequest(prompt="for whom", model=MODEL).SerializeToString()
        with pytest.raises(grpc.RpcError) as met:
            channel.unary_unary(COMPLETE)(message, metadata=metadata)
        assert met.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in met.value.details()


@pytest.mark.parametrize("rpc", ["StreamComplete", "BatchComplete", "EstimateCost"])
def test_other_methods_refuse_garbage_too(house: Aigend, rpc: str):
    """Malformed bytes are INVALID_ARGUMENT everywhere."""
    with grpc.insecure_channel(f"unix:{house.socket}") as channel:
        path = f"/aigen.v1.CompletionService/{rpc}"
        with pytest.raises(grpc.RpcError) as met:
            list(channel.unary_stream(path)(b"\xff\xff\xff")) if rpc.startswith("S") else channel.unary_unary(path)(b"\xff\xff\xff")
        assert met.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_deadline_that_has_passed(house: Aigend):
    """A call whose time is over gets DEADLINE_EXCEEDED and costs nothing."""
    with grpc.insecure_channel(f"unix:{house.socket}") as channel:
        message = completion_pb2.CompleteRequest(prompt="too late already", model=MODEL).SerializeToString()
        with pytest.raises(grpc.RpcError) as met:
            channel.unary_unary(COMPLETE)(message, timeout=-1)
        assert met.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
