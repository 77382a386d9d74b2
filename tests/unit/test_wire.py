"""The wire between a supervisor and its runners."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.engine import wire
from taskyard.engine.wire import Channel, Decoder, WireBroken, encode, encode_all


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = map(Channel, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


messages = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers(-(2**53), 2**53) | st.text(), max_size=4).map(
        lambda fields: {**fields, "t": "any"}
    ),
    max_size=5,
)


@given(messages, st.lists(st.integers(1, 40), min_size=1))
def test_messages_arrive_whole_and_in_order_however_the_bytes_are_cut(
    sent: list[dict[str, object]], cuts: list[int]
) -> None:
    data = b"".join(encode(message) for message in sent)
    decoder, received = Decoder(), []

    while data:
        for cut in cuts:
            received += decoder.feed(data[:cut])
            data = data[cut:]

    assert received == sent


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", wire.FRAME_CAP + 1),
        struct.pack(">I", 3) + b"{]}",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 2) + b"{}",
    ],
    ids=["too long", "not JSON", "not an object", "without a kind"],
)
def test_what_is_no_message_breaks_the_wire(data: bytes) -> None:
    with pytest.raises(WireBroken):
        Decoder().feed(data)


def test_a_message_above_the_cap_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FRAME_CAP", 100)
    with pytest.raises(ValueError, match="above the limit of 100"):
        encode({"t": "x", "text": "y" * 100})
    with pytest.raises(ValueError, match="above the limit of 100"):
        list(encode_all("x", "items", ["y" * 100]))


def test_a_long_list_is_parted_and_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SPLIT_AT", 200)
    items = [f"item {n}" for n in range(100)]

    frames = list(encode_all("done", "outcomes", items))

    parts = Decoder().feed(b"".join(frames))
    assert len(parts) == 8
    assert [item for part in parts for item in part["outcomes"]] == items


def test_a_channel_ends_when_the_other_side_closes(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.send({"t": "one"})
    theirs.send_all("two", "items", [1, 2])
    theirs.close()

    assert list(ours.receive()) == [{"t": "one"}, {"t": "two", "items": [1, 2]}]


def test_threads_that_send_at_once_do_not_mix_their_messages(
    pair: tuple[Channel, Channel],
) -> None:
    ours, theirs = pair
    texts = [str(n) * 100_000 for n in range(8)]
    threads = [
        threading.Thread(target=theirs.send, args=({"t": "x", "text": text},)) for text in texts
    ]
    for thread in threads:
        thread.start()

    received = ours.receive()

    assert sorted(next(received)["text"] for _ in texts) == texts
    for thread in threads:
        thread.join(10)


def test_a_child_process_does_not_hold_the_channel_open() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel.inherited(os.dup(theirs.fileno()))
    theirs.close()
    stay, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(stay, 1)
        os._exit(0)

    channel.close()
    ours.settimeout(10)
    ended = ours.recv(1) == b""
    os.write(go, b"!")
    os.waitpid(child, 0)
    ours.close()

    assert ended
