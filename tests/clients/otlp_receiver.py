"""Takes spans by OTLP over HTTP, decoded by OpenTelemetry's own messages.

usage: otlp_receiver.py

Says its port on the first line, then a JSON object for each span. It ends when standard input does.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

LOCK = threading.Lock()


def plain(attributes):
    return {attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value")) for attribute in attributes}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces", self.path
        assert self.headers["Content-Type"] == "application/x-protobuf", self.headers
        request = ExportTraceServiceRequest.FromString(body)
        with LOCK:
            for resource in request.resource_spans:
                of = plain(resource.resource.attributes)
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.said(of, scope.scope.name, span)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def said(self, resource, scope, span):
        line = {
            "service": resource["service.name"],
            "scope": scope,
            "name": span.name,
            "trace": span.trace_id.hex(),
            "span": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "nanos": span.end_time_unix_nano - span.start_time_unix_nano,
            "attributes": plain(span.attributes),
        }
        print(json.dumps(line), flush=True)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
server.shutdown()
