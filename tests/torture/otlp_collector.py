"""An OTLP endpoint on loopback that keeps the last value of each exported number."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

Key = tuple[str, frozenset[tuple[str, str]]]


class Collector:
    """Takes metrics over HTTP; sums are kept, histograms are not."""

    def __init__(self) -> None:
        self.values: dict[Key, int] = {}
        self.exports = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/metrics":
                    collector.take(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def take(self, request: ExportMetricsServiceRequest) -> None:
        """Keep what one export says."""
        values: dict[Key, int] = {}
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.sum.data_points:
                        names = frozenset((item.key, item.value.string_value) for item in point.attributes)
                        values[metric.name, names] = point.as_int
        self.values = values
        self.exports += 1

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
