"""What must not leave: the provider's key in anything that the daemon writes or tells, prompts and answers in its log."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import KEY, eventually
from tests.emulator_server import RunningEmulator

pytestmark = pytest.mark.not_on_floor
MODEL = "gpt-4o-mini"
PROMPT = "the-secret-plan-of-acme about quarterly numbers"


class Collector:
    """An OTLP endpoint over HTTP that keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A running collector."""
    with closing(Collector()) as collector:
        yield collector


def test_no_key_and_no_prompt_leaves(make_daemon: MakeDaemon, emulator: RunningEmulator, collector: Collector):
    """The key stands in no log line, span, metric, file, setting or error; prompt and answer in neither log nor telemetry."""
    telemetry = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "100",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    settings = {
        "log": {"level": "debug"},
        "retry": {"max_attempts": 1},
        "telemetry": {"traces": True, "metrics": True, "sample_ratio": 1.0},
    }
    daemon = make_daemon(settings, environ=telemetry).start()
    client = daemon.client()
    answer = client.complete(PROMPT, model=MODEL)
    told = [repr(client.settings()), repr(client.status()), repr(answer)]
    list(client.stream(f"{PROMPT} as a stream", model=MODEL))
    emulator.script({"status": 401, "body": json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}", "code": "x"}})})
    for failing in (
        f"{PROMPT} refused",
        f"[[fault:status=500]] {PROMPT}",
        f"[[fault:garbage=html]] {PROMPT}",
        f"[[fault:reset]] {PROMPT}",
    ):
        with pytest.raises(aigen.AigenError) as met:
            client.complete(failing, model=MODEL)
        told.append(f"{met.value!r} {met.value} {met.value.metadata}")
    eventually(lambda: {"/v1/traces", "/v1/metrics"} <= {path for path, _ in collector.received})
    assert daemon.stop() == 0
    exported = b"".join(body for _, body in collector.received)
    secret = KEY.encode()
    assert KEY not in "".join(told)
    assert secret not in exported
    for path in (path for path in daemon.folder.rglob("*") if path.is_file()):
        assert secret not in path.read_bytes(), path
    for private in (PROMPT, answer.text[:40]):
        assert private not in daemon.log()
        assert private.encode() not in exported


def test_files_are_the_owners_alone(make_daemon: MakeDaemon):
    """Directories have mode 0700 and files 0600, whatever the umask of who started the daemon."""
    daemon = make_daemon().start(wrapper=["sh", "-c", 'umask 0000 && exec "$@"', "sh"])
    daemon.client().complete(PROMPT, model=MODEL)
    for folder in (daemon.state, daemon.cache):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
            path.name: "0o600" for path in folder.iterdir()
        }


def test_log_is_one_json_object_a_line_with_the_time(make_daemon: MakeDaemon):
    """Each line of the log can be read by a program and says when it was."""
    daemon = make_daemon().start()
    daemon.stop()
    lines = [json.loads(line) for line in daemon.log().splitlines()]
    assert [line["event"] for line in lines] == ["ready", "stopped"]
    assert all(line["time"] > "2025" for line in lines)
