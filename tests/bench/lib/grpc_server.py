"""A gRPC server that echoes: grpc_server.py PORT TLS_PORT CERTIFICATE KEY. Messages are bytes of no schema. It needs the
package grpcio of PyPI, which Debian has as python3-grpcio."""

import sys
from concurrent import futures

import grpc

SERVING = b"\x08\x01"
"""A HealthCheckResponse of grpc.health.v1."""


def upload(requests, _context):
    return b",".join(requests)


def download(request, _context):
    for number in range(20):
        yield b"%s %d" % (request, number)


def chat(requests, context):
    context.set_trailing_metadata((("said", "all"),))
    yield from requests


def main():
    port, tls_port, certificate, key = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(64))
    echo = {"Unary": grpc.unary_unary_rpc_method_handler(lambda request, _context: request),
            "Upload": grpc.stream_unary_rpc_method_handler(upload),
            "Download": grpc.unary_stream_rpc_method_handler(download),
            "Chat": grpc.stream_stream_rpc_method_handler(chat)}
    health = {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: SERVING)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Echo", echo),
                                     grpc.method_handlers_generic_handler("grpc.health.v1.Health", health)])
    with open(certificate, "rb") as chain, open(key, "rb") as secret:
        credentials = grpc.ssl_server_credentials([(secret.read(), chain.read())])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.add_secure_port(f"127.0.0.1:{tls_port}", credentials)
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


main()
