"""Entries as records: what comes back is what went in, or nothing."""

import dataclasses
import random
import struct
import zlib

import pytest
from aigend.cache import codec
from aigend.cache.codec import RecordDamagedError, decode_entry, encode_entry
from aigend.types import (
    Answer,
    Cost,
    CostBasis,
    Document,
    FinishReason,
    Image,
    Part,
    Route,
    Stability,
    Text,
    Thinking,
    TokenUsage,
    ToolCall,
    ToolResult,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon.cache.entries import answer, entry, key

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, 2**40)
CONTENT = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Image, data=st.binary(max_size=20), url=TEXT, media_type=TEXT),
    st.builds(Document, data=st.binary(max_size=20), title=TEXT),
    st.builds(ToolCall, id=TEXT, name=TEXT, arguments_json=TEXT),
    st.builds(ToolResult, tool_call_id=TEXT, text=TEXT, is_error=st.booleans()),
    st.builds(Thinking, text=TEXT, signature=TEXT),
)
PARTS = st.builds(
    Part, CONTENT, stability=st.none() | st.sampled_from(Stability), prompt_cache_mark_s=st.none() | st.integers(0, 9)
)
ANSWERS = st.builds(
    Answer,
    parts=st.lists(PARTS, max_size=4).map(tuple),
    finish_reason=st.sampled_from(FinishReason),
    route=st.builds(Route, TEXT, TEXT),
    resolved_model=TEXT,
    usage=st.builds(TokenUsage, input=COUNTS, cache_read=COUNTS, output=COUNTS, reasoning=COUNTS, searches=COUNTS),
    cost=st.builds(Cost, nanos=st.none() | COUNTS, basis=st.sampled_from(CostBasis), price_entry_id=TEXT),
    provider_usage_json=TEXT,
)


@given(ANSWERS, st.booleans())
def test_an_entry_comes_back_as_it_was(given_answer: Answer, compress: bool) -> None:  # noqa: FBT001 - drawn
    """Every kind of part, bytes included, and every number survives."""
    stored = entry(answer=given_answer)
    assert decode_entry(encode_entry(stored, compress=compress), key=stored.key) == stored


def test_compression_is_used_where_it_pays() -> None:
    """A long repetitive answer gets smaller, a short one stays plain, and both come back."""
    long = entry(text="again and again " * 500)
    assert len(encode_entry(long, compress=True)) < len(encode_entry(long, compress=False)) / 5
    noise = entry(text="".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=90))))  # noqa: S311 - no secret
    for stored in (long, noise, entry(text="")):
        assert decode_entry(encode_entry(stored, compress=True), key=stored.key) == stored


@pytest.mark.parametrize("compress", [False, True])
def test_every_flipped_bit_is_noticed(compress: bool) -> None:  # noqa: FBT001 - a setting
    """No single bit of a record can change without the record being refused."""
    stored = entry(text="word " * 60)
    record = encode_entry(stored, compress=compress)
    for position in range(len(record) * 8):
        flipped = bytearray(record)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(RecordDamagedError):
            decode_entry(bytes(flipped), key=stored.key)


def test_a_record_under_another_key_is_refused() -> None:
    """A damaged index that leads to another row gives no answer to another question."""
    with pytest.raises(RecordDamagedError):
        decode_entry(encode_entry(entry("one"), compress=True), key=key("two"))


@pytest.mark.parametrize("record", [b"", b"\x01", "text", None, 7])
def test_what_is_no_record_is_refused(record: object) -> None:
    """A column of another type or length is damage, not a crash."""
    with pytest.raises(RecordDamagedError):
        decode_entry(record, key=key("one"))  # type: ignore[arg-type]


def sealed(plain: bytes, *, size: int, flags: int = codec.COMPRESSED, version: int = codec.RECORD_VERSION) -> bytes:
    """Return a record with a right checksum around what may be wrong otherwise."""
    payload = zlib.compress(plain)
    return struct.pack(">BBI16s", version, flags, size, codec._checksum(key("one"), flags, size, payload)) + payload


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(sealed(b"\0" * 1_000_000, size=10), id="inflates-to-more"),
        pytest.param(sealed(b"\0" * 10, size=1_000), id="inflates-to-less"),
        pytest.param(sealed(b"\0" * 10, size=codec.MAX_RECORD_BYTES + 1), id="claims-too-much"),
        pytest.param(sealed(b"\0\0\0\x02{}", size=6), id="fields-missing"),
        pytest.param(sealed(b"\0\0\0\x02[]", size=6), id="no-object"),
        pytest.param(sealed(b"\0\0\0\x02{}", size=6, flags=0), id="not-what-the-flags-say"),
        pytest.param(sealed(b"\0\0\0\x02{}", size=6, version=2), id="newer"),
    ],
)
def test_a_well_sealed_record_that_makes_no_sense_is_refused(record: bytes) -> None:
    """Inflation is bounded by the stored size, and a record of another version is a miss."""
    with pytest.raises(RecordDamagedError):
        decode_entry(record, key=key("one"))


def test_without_the_checksum_a_flipped_bit_would_change_an_answer() -> None:
    """Control: the same flip in the plain record decodes to other words."""
    stored = entry(answer=answer("yes"))
    plain = bytearray(codec._encode_plain(stored))
    plain[plain.index(b"yes")] ^= 1
    assert codec._decode_plain(bytes(plain), stored.key).answer.text == "xes"


def test_all_fields_of_an_entry_are_in_its_record() -> None:
    """A new field of an entry or an answer can't be forgotten: all are compared after the way through."""
    stored = entry(agent="a", phase="p", service="s", namespace="n", scope="o", route=Route("x", "y"), create_time=1.5)
    back = decode_entry(encode_entry(stored, compress=True), key=stored.key)
    for field in dataclasses.fields(stored):
        assert getattr(back, field.name) == getattr(stored, field.name)
