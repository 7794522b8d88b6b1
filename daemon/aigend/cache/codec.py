"""An entry as bytes and back: a versioned record in our own words, checksummed under its key, compressed where that pays.

A record holds all that a hit needs, so that no damaged column beside it can change an answer. Nothing here knows where records lie.
"""

import hashlib
import json
import struct
import zlib
from dataclasses import MISSING, asdict, fields
from typing import Any

from aigend.cache.entry import CacheEntry
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

RECORD_VERSION = 1
MAX_RECORD_BYTES = 134_217_728  # inflated: the largest answer, its text spelled as JSON, and room to spare
COMPRESSED = 1  # flag
SMALLEST_COMPRESSED = 256  # bytes; below, the header of zlib eats what it saves

_HEAD = struct.Struct(">BBI16s")  # version, flags, inflated size, checksum
_SIZE = struct.Struct(">I")
_CONTENTS = {"text": Text, "image": Image, "document": Document, "call": ToolCall, "result": ToolResult, "thinking": Thinking}
_CONTENT_NAMES = {kind: name for name, kind in _CONTENTS.items()}


class RecordDamagedError(Exception):
    """Bytes that are not the record that was stored under the key."""


def encode_entry(entry: CacheEntry, *, compress: bool) -> bytes:
    """Return an entry as the record that is stored under its key."""
    plain = _encode_plain(entry)
    flags, payload = 0, plain
    if compress and len(plain) >= SMALLEST_COMPRESSED:
        packed = zlib.compress(plain, 1)
        if len(packed) < len(plain):
            flags, payload = COMPRESSED, packed
    checksum = _checksum(entry.key, flags, len(plain), payload)
    return _HEAD.pack(RECORD_VERSION, flags, len(plain), checksum) + payload


def decode_entry(record: bytes, *, key: bytes) -> CacheEntry:
    """Return the entry that was stored under a key.

    Raises:
        RecordDamagedError: A bit of the record or of its key is another than when it was stored, or its version is newer.
    """
    if not isinstance(record, bytes) or len(record) < _HEAD.size:
        raise RecordDamagedError("the record is cut short")
    version, flags, size, checksum = _HEAD.unpack_from(record)
    payload = record[_HEAD.size :]
    if version != RECORD_VERSION or checksum != _checksum(key, flags, size, payload):
        raise RecordDamagedError("the checksum does not match")
    try:
        return _decode_plain(_inflate(payload, size) if flags & COMPRESSED else payload, key)
    except (ValueError, KeyError, TypeError, IndexError, struct.error, zlib.error) as error:
        raise RecordDamagedError(f"the record can't be read: {error}") from error


def _checksum(key: bytes, flags: int, size: int, payload: bytes) -> bytes:
    digest = hashlib.blake2b(_HEAD.pack(RECORD_VERSION, flags, size, b""), digest_size=16, key=key)
    digest.update(payload)
    return digest.digest()


def _inflate(payload: bytes, size: int) -> bytes:
    if size > MAX_RECORD_BYTES:
        raise ValueError(f"{size} bytes inflated; allowed: {MAX_RECORD_BYTES}")
    inflater = zlib.decompressobj()
    plain = inflater.decompress(payload, size + 1)
    if len(plain) != size or not inflater.eof:
        raise ValueError("the inflated size is another than the stored one")
    return plain


def _encode_plain(entry: CacheEntry) -> bytes:
    """Return JSON behind its length, and behind it the binary pieces that the JSON names by number."""
    pieces: list[bytes] = []
    answer = entry.answer
    record = {
        "scope": entry.scope,
        "namespace": entry.namespace,
        "route": [entry.route.provider, entry.route.model],
        "agent": entry.agent,
        "phase": entry.phase,
        "service": entry.service,
        "create_time": entry.create_time,
        "expire_time": entry.expire_time,
        "parts": [_plain_part(part, pieces) for part in answer.parts],
        "finish_reason": answer.finish_reason,
        "answer_route": [answer.route.provider, answer.route.model],
        "resolved_model": answer.resolved_model,
        "usage": asdict(answer.usage),
        "cost": asdict(answer.cost),
        "provider_usage_json": answer.provider_usage_json,
        "pieces": [],
    }
    record["pieces"] = [len(piece) for piece in pieces]
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    return b"".join((_SIZE.pack(len(text)), text, *pieces))


def _decode_plain(plain: bytes, key: bytes) -> CacheEntry:
    end = _SIZE.size + _SIZE.unpack_from(plain)[0]
    record = json.loads(plain[_SIZE.size : end])
    pieces = []
    for size in record["pieces"]:
        pieces.append(plain[end : end + size])
        end += size
    cost = record["cost"]
    answer = Answer(
        parts=tuple(_real_part(part, pieces) for part in record["parts"]),
        finish_reason=FinishReason(record["finish_reason"]),
        route=Route(*record["answer_route"]),
        resolved_model=record["resolved_model"],
        usage=TokenUsage(**record["usage"]),
        cost=Cost(nanos=cost["nanos"], basis=CostBasis(cost["basis"]), price_entry_id=cost["price_entry_id"]),
        provider_usage_json=record["provider_usage_json"],
    )
    names = ("scope", "namespace", "agent", "phase", "service", "create_time", "expire_time")
    return CacheEntry(key=key, route=Route(*record["route"]), answer=answer, **{name: record[name] for name in names})


def _plain_part(part: Part, pieces: list[bytes]) -> dict[str, Any]:
    plain: dict[str, Any] = {"kind": _CONTENT_NAMES[type(part.content)]}
    for field in fields(part.content):
        value = getattr(part.content, field.name)
        if isinstance(value, bytes):
            pieces.append(value)
            plain[field.name] = len(pieces) - 1
        elif field.default is MISSING or value != field.default:
            plain[field.name] = value
    settings = {"stability": part.stability, "prompt_cache_mark_s": part.prompt_cache_mark_s}
    return {"content": plain} | {name: value for name, value in settings.items() if value is not None}


def _real_part(plain: dict[str, Any], pieces: list[bytes]) -> Part:
    given = dict(plain["content"])
    kind = _CONTENTS[given.pop("kind")]
    if "data" in given:
        given["data"] = pieces[given["data"]]
    stability = plain.get("stability")
    return Part(
        kind(**given),
        stability=None if stability is None else Stability(stability),
        prompt_cache_mark_s=plain.get("prompt_cache_mark_s"),
    )
