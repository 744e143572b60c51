"""A grpcio server on a port of loopback: every kind of call, plain messages of bytes.

Usage: grpc_server.py PORT [CERT KEY]
"""

import sys
import time
from concurrent import futures

import grpc


def unary(request, context):
    context.send_initial_metadata((("x-initial", "yes"),))
    context.set_trailing_metadata((("x-trailing", "yes"), ("x-binary-bin", b"\x00\xff")))
    return request


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def total(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def chat(requests, context):
    for request in requests:
        yield b"re: " + request


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 50% off")


def sleep(request, context):
    # As long as the client wants to hear of it.
    while context.is_active():
        time.sleep(0.01)
    return b""


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Total": grpc.stream_unary_rpc_method_handler(total),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
}


def main():
    port, *tls = sys.argv[1:]
    server = grpc.server(
        futures.ThreadPoolExecutor(32),
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 16 << 20)],
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer.Echo", METHODS),))
    if tls:
        cert, key = (open(path, "rb").read() for path in tls)
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([(key, cert)]))
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


main()
