"""A grpcio client that checks every kind of call against grpc_server.py behind a gateway.

Usage: grpc_client.py ADDRESS [AUTHORITY_PEM SERVER_NAME]

The gateway routes peer.Echo to the server and peer.Away to a Service without endpoints, and knows no other service.
"""

import queue
import sys

import grpc

DEADLINE = 20


def method(channel, kind, path):
    return getattr(channel, kind)(path, request_serializer=bytes, response_deserializer=bytes)


def refused(code, call, *details):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} is not {code}: {error.details()}"
        for detail in details:
            assert detail in error.details(), error.details()
        return error
    raise AssertionError(f"answered, although it should fail with {code}")


def unary(channel):
    call = method(channel, "unary_unary", "/peer.Echo/Unary")
    response, info = call.with_call(b"hello", timeout=DEADLINE, metadata=(("x-asked", "yes"),))
    assert response == b"hello"
    assert ("x-initial", "yes") in [tuple(pair) for pair in info.initial_metadata()]
    trailing = [tuple(pair) for pair in info.trailing_metadata()]
    assert ("x-trailing", "yes") in trailing and ("x-binary-bin", b"\x00\xff") in trailing, trailing


def long_messages(channel):
    call = method(channel, "unary_unary", "/peer.Echo/Unary")
    for size in (0, 1, 65_535, 65_536, 3 << 20):
        message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert call(message, timeout=DEADLINE) == message, size


def server_streaming(channel):
    call = method(channel, "unary_stream", "/peer.Echo/Count")
    assert list(call(b"500", timeout=DEADLINE)) == [b"%d" % number for number in range(500)]


def client_streaming(channel):
    call = method(channel, "stream_unary", "/peer.Echo/Total")
    assert call((b"x" * 1000 for _ in range(1000)), timeout=DEADLINE) == b"1000000"


def both_streaming(channel):
    # Each message is sent after the answer to the last: nothing is held back until a side has ended.
    call = method(channel, "stream_stream", "/peer.Echo/Chat")
    requests = queue.Queue()
    responses = call(iter(requests.get, None), timeout=DEADLINE)
    for number in range(50):
        requests.put(b"%d" % number)
        assert next(responses) == b"re: %d" % number
    requests.put(None)
    assert list(responses) == []
    assert responses.code() == grpc.StatusCode.OK


def many_at_once(channel):
    call = method(channel, "unary_unary", "/peer.Echo/Unary")
    calls = [(b"%d" % number, call.future(b"%d" % number, timeout=DEADLINE)) for number in range(300)]
    assert all(sent == future.result() for sent, future in calls)


def the_servers_own_error(channel):
    call = method(channel, "unary_unary", "/peer.Echo/Fail")
    refused(grpc.StatusCode.FAILED_PRECONDITION, lambda: call(b"", timeout=DEADLINE), "not today: 50% off")
    call = method(channel, "unary_unary", "/peer.Echo/NoSuchMethod")
    refused(grpc.StatusCode.UNIMPLEMENTED, lambda: call(b"", timeout=DEADLINE), "Method not found")


def deadline(channel):
    call = method(channel, "unary_unary", "/peer.Echo/Sleep")
    refused(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: call(b"", timeout=0.3))
    # And the connection goes on.
    unary(channel)


def cancellation(channel):
    call = method(channel, "unary_unary", "/peer.Echo/Sleep").future(b"", timeout=DEADLINE)
    call.cancel()
    assert call.cancelled()
    unary(channel)


def no_route(channel):
    call = method(channel, "unary_unary", "/peer.Nobody/Knows")
    refused(grpc.StatusCode.UNIMPLEMENTED, lambda: call(b"", timeout=DEADLINE))


def no_endpoint(channel):
    call = method(channel, "unary_unary", "/peer.Away/Unary")
    refused(grpc.StatusCode.UNAVAILABLE, lambda: call(b"", timeout=DEADLINE))


CHECKS = (
    unary,
    long_messages,
    server_streaming,
    client_streaming,
    both_streaming,
    many_at_once,
    the_servers_own_error,
    deadline,
    cancellation,
    no_route,
    no_endpoint,
)


def main():
    address, *tls = sys.argv[1:]
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 16 << 20)]
    if tls:
        authority, name = tls
        credentials = grpc.ssl_channel_credentials(open(authority, "rb").read())
        options.append(("grpc.ssl_target_name_override", name))
        channel = grpc.secure_channel(address, credentials, options)
    else:
        channel = grpc.insecure_channel(address, options)
    failed = 0
    for check in CHECKS:
        try:
            check(channel)
        except Exception as error:  # each check is told of, whatever the one before did
            failed += 1
            print(f"{check.__name__}: FAILED: {type(error).__name__}: {error}")
        else:
            print(f"{check.__name__}: ok")
    channel.close()
    print(f"grpc: {len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
