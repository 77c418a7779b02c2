"""BLAKE3's keyed hash of up to 64 bytes in plain Python: what the core's markers and candidates are checked against.

Written from the specification (github.com/BLAKE3-team/BLAKE3-specs, sections 2.1 to 2.4). One block is one chunk is the root.
"""

from __future__ import annotations

import struct

_INITIAL = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_QUARTERS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip
_CHUNK_START, _CHUNK_END, _ROOT, _KEYED = 1, 2, 8, 16
_MASK = 0xFFFFFFFF


def keyed_hash(key: bytes, message: bytes) -> bytes:
    """The 32-byte keyed hash of at most 64 bytes."""
    assert len(key) == 32
    assert len(message) <= 64
    words = list(struct.unpack("<16I", message.ljust(64, b"\0")))
    chaining = struct.unpack("<8I", key)
    state = [*chaining, *_INITIAL, 0, 0, len(message), _CHUNK_START | _CHUNK_END | _ROOT | _KEYED]
    for _ in range(7):
        for number, places in enumerate(_QUARTERS):
            _mix(state, places, words[2 * number], words[2 * number + 1])
        words = [words[place] for place in _PERMUTATION]
    return struct.pack("<8I", *(state[place] ^ state[place + 8] for place in range(8)))


def _mix(state: list[int], places: tuple[int, int, int, int], x: int, y: int) -> None:
    a, b, c, d = places
    for word, right_d, right_b in ((x, 16, 12), (y, 8, 7)):
        state[a] = (state[a] + state[b] + word) & _MASK
        state[d] = _rotated(state[d] ^ state[a], right_d)
        state[c] = (state[c] + state[d]) & _MASK
        state[b] = _rotated(state[b] ^ state[c], right_b)


def _rotated(word: int, bits: int) -> int:
    return (word >> bits | word << (32 - bits)) & _MASK
