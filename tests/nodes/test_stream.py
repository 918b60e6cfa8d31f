"""Opening streams: tokens, versions, addresses, and bytes that are no frames."""

import asyncio

import msgpack
import pytest

from nodes import connection as nodes_connection
from nodes import stream
from nodes.connection import Connection, Ends
from nodes.errors import NodesError, NotAuthorised, StreamClosed
from nodes.framing import VERSION, Kind, decode
from nodes.stream import check_listen, check_version, has_token, open_connection
from tests.nodes.wires import Inbox, SlowWire, pair, request_frame, run


def test_nobody_listening_is_stream_closed_naming_the_address() -> None:
    async def scenario() -> None:
        with pytest.raises(StreamClosed, match=r"127\.0\.0\.1:1"):
            await open_connection("127.0.0.1:1", timeout_s=2.0, **Inbox().settings())

    run(scenario)


def test_bytes_that_are_no_frame_get_an_error_and_harm_nothing() -> None:
    async def scenario() -> None:
        made = pair()
        made.wire.other.incoming.put_nowait(b"nonsense")
        made.a.post(request_frame("after"))
        assert (await made.at_b.frames.get()).header.request == "after"
        answer = (await made.at_a.frames.get()).header
        assert answer.kind is Kind.ERROR
        assert answer.fault is not None
        assert "header of" in answer.fault.message
        await made.close()

    run(scenario)


def test_a_message_is_on_the_wire_before_post_returns() -> None:
    async def scenario() -> None:
        made = pair()
        made.a.post(request_frame("now"))
        assert [decode(data).header.request for data in made.wire.written] == ["now"]
        await made.close()

    run(scenario)


def test_writes_go_one_at_a_time_and_in_order() -> None:
    async def scenario() -> None:
        wire = SlowWire()
        connection = Connection(wire, Ends(), **Inbox().settings())
        for name in ("r1", "r2", "r3"):
            connection.post(request_frame(name))
        for count in (1, 2, 3):
            assert len(wire.written) == count
            wire.waits[-1].set_result(None)
            await asyncio.sleep(0)
        assert [decode(data).header.request for data in wire.written] == ["r1", "r2", "r3"]

    run(scenario)


def test_a_broken_write_ends_the_stream_but_not_within_post() -> None:
    async def scenario() -> None:
        wire, inbox = SlowWire(), Inbox()
        connection = Connection(wire, Ends(), **inbox.settings())
        wire.broken = True
        connection.post(request_frame())
        assert inbox.closed == []
        await asyncio.sleep(0)
        assert inbox.closed == ["broken"]

    run(scenario)


def test_acknowledgements_ride_on_answers() -> None:
    async def scenario() -> None:
        made = pair()
        for number in range(20):
            made.a.post(request_frame(f"{number}"))
            await made.at_b.frames.get()
            made.b.post(request_frame(f"{number}"))
            await made.at_a.frames.get()
        assert made.a.link.samples >= 19
        assert len(made.wire.other.written) < 30  # 20 answers and few acknowledgements of their own
        await made.close()

    run(scenario)


def test_an_unanswered_ping_is_stream_closed() -> None:
    async def scenario() -> None:
        made = pair()
        made.tasks[1].cancel()
        await asyncio.gather(made.tasks[1], return_exceptions=True)
        with pytest.raises(StreamClosed, match=r"did not answer a ping in 0\.05 s"):
            await made.a.ping(timeout_s=0.05)
        made.wire.incoming.put_nowait(None)
        await made.tasks[0]

    run(scenario)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "192.168.1.5:80", "[::]:0", "example.com:80"])
def test_off_loopback_needs_a_token(listen: str) -> None:
    with pytest.raises(NotAuthorised, match="--token-file"):
        check_listen(listen, None)
    check_listen(listen, "secret")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_loopback_needs_none(listen: str) -> None:
    check_listen(listen, None)


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:http", ":0"])
def test_an_address_without_host_and_port_is_refused(listen: str) -> None:
    with pytest.raises(NodesError, match="host:port"):
        check_listen(listen, "secret")


def test_tokens_must_match_exactly() -> None:
    given = ((stream.TOKEN, "secret"),)
    assert has_token(given, "secret")
    assert has_token((), None)
    assert not has_token(given, "secret2")
    assert not has_token((), "secret")


@pytest.mark.parametrize(
    ("theirs", "way_out"),
    [("", "is it an isthmus worker"), ("x", "is it"), ("0", "upgrade peer first"), ("99", "upgrade this side first")],
)
def test_versions_more_than_one_apart_do_not_talk_and_say_who_is_to_change(theirs: str, way_out: str) -> None:
    with pytest.raises(StreamClosed, match=f"speaks protocol version.*{way_out}"):
        check_version(theirs, "peer")


@pytest.mark.parametrize(("theirs", "spoken"), [(VERSION - 1, VERSION - 1), (VERSION, VERSION), (VERSION + 1, VERSION)])
def test_neighbouring_versions_settle_on_the_lesser(theirs: int, spoken: int) -> None:
    assert check_version(str(theirs), "peer") == spoken


def test_a_peer_that_sends_on_and_reads_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_connection, "MOST_FRAMES", 8)

    class Deaf(SlowWire):
        """Takes one message, and has nonsense to be read without end."""

        async def read(self) -> bytes | None:
            await asyncio.sleep(0)
            return b"nonsense"

    async def scenario() -> None:
        inbox, wire = Inbox(), Deaf()
        await Connection(wire, Ends(peer_node="deaf"), **inbox.settings()).run()
        assert inbox.closed == ["deaf sends on and reads nothing"]
        assert len(wire.written) == 1

    run(scenario)


def test_what_is_said_of_a_frame_is_not_as_long_as_the_frame() -> None:
    async def scenario() -> None:
        made = pair()
        made.wire.other.incoming.put_nowait(raw_kind("k" * 60_000))
        fault = (await made.at_a.frames.get()).header.fault
        assert fault is not None
        assert len(fault.message) <= 500
        await made.close()

    run(scenario)


def raw_kind(version: str) -> bytes:
    """A frame of that version."""
    packed = bytes(msgpack.packb({"v": version}))
    return len(packed).to_bytes(4, "little") + packed
