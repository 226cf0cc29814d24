"""Signed integers of b bits packed at exact density: 32 weights in b words of 32 bits.

The format is that of ``kernels/sq_packing.h``, which says why: a word's halves hold the two weights
of a pair at the same place, so that one AND gives both operands of a dual multiply-accumulate. Of
each four weights the first and the third are a pair, then the second and the fourth. Blocks of 32
weights have no gaps; the weights behind the last block of a row take whole words.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sigmaquant.lowering.program import Int8Array

UInt32Array = npt.NDArray[np.uint32]

BLOCK = 32
_PAIRS = BLOCK // 2
_HALF_BITS = 16


def row_words(length: int, bits: int) -> int:
    """Words of a row of that many weights.

    >>> row_words(64, 3), row_words(27, 8), row_words(9, 2)
    (6, 7, 1)
    """
    fours, rest = divmod(length % BLOCK, 4)
    tail_pairs = 2 * fours + min(rest, 2)
    return length // BLOCK * bits + -(-tail_pairs // (_HALF_BITS // bits))


def gathered_elements(length: int, bits: int) -> int:
    """How many elements the words of a row of that many weights have room for.

    >>> gathered_elements(64, 3), gathered_elements(63, 3)
    (64, 72)
    """
    blocks = length // BLOCK
    tail_words = row_words(length, bits) - blocks * bits
    return blocks * BLOCK + 2 * tail_words * (_HALF_BITS // bits)


def pack_matrix(values: Int8Array, bits: int) -> UInt32Array:
    """(rows, length) weights to words: rows in pairs, interleaved word by word; see ``sq_matrix``.

    >>> pack_matrix(np.array([[1, -1], [0, 1]], np.int8), 8)
    array([32641, 33152], dtype=uint32)
    """
    packed = [pack_row(row, bits) for row in values]
    pairs = [np.stack(packed[i : i + 2], axis=1).reshape(-1) for i in range(0, len(packed), 2)]
    return np.concatenate(pairs)


def pack_row(values: Int8Array, bits: int) -> UInt32Array:
    """(length,) weights in -2^(bits-1) .. 2^(bits-1)-1 to (row_words(length, bits),) words."""
    offset = 1 << (bits - 1)
    shifted = values.astype(np.int64) + offset
    in_range = not shifted.size or (shifted.min() >= 0 and shifted.max() < 2 * offset)
    assert in_range, f"values beyond {bits} bits"
    whole = len(values) // BLOCK * BLOCK
    blocks = _pairs(shifted[:whole]).reshape(-1, _PAIRS)
    tail = _pairs(np.pad(shifted[whole:], (0, -len(values) % 4)))
    if len(values) % 4 == 1:
        tail = tail[:-1]
    return np.concatenate([_pack_blocks(blocks, bits).reshape(-1), _pack_fields(tail, bits)])


def _pairs(shifted: npt.NDArray[np.int64]) -> UInt32Array:
    """The first and the third of each four as the halves of a word, then the second and fourth."""
    low, high = shifted.reshape(-1, 2, 2).transpose(1, 0, 2)
    return (low | high << _HALF_BITS).astype(np.uint32).reshape(-1)


def _pack_fields(pairs: UInt32Array, bits: int) -> UInt32Array:
    """Whole fields only: 16 // bits pairs a word."""
    fields = _HALF_BITS // bits
    whole = np.pad(pairs, (0, -len(pairs) % fields)).reshape(-1, fields)
    words: UInt32Array = np.bitwise_or.reduce(whole << _shifts(bits * np.arange(fields)), axis=1)
    return words


def _pack_blocks(pairs: UInt32Array, bits: int) -> UInt32Array:
    """(blocks, 16) pairs to (blocks, bits) words; what is left of their halves is filled too."""
    fields, left = divmod(_HALF_BITS, bits)
    whole = pairs[:, : fields * bits].reshape(-1, bits, fields)
    words: UInt32Array = np.bitwise_or.reduce(whole << _shifts(bits * np.arange(fields)), axis=2)
    for pair in range(left):
        for word, place, start, count in _left_pieces(pair, bits):
            lanes = np.uint32(((1 << count) - 1) * 0x00010001)
            piece = pairs[:, fields * bits + pair] >> np.uint32(start) & lanes
            words[:, word] |= piece << np.uint32(place)
    return words


def _left_pieces(pair: int, bits: int) -> list[tuple[int, int, int, int]]:
    """(word, place in the word, first bit of the pair, number of bits) of a left pair's pieces."""
    fields, left = divmod(_HALF_BITS, bits)
    pieces, rest = divmod(bits, left)
    begin = fields * bits
    found = [(pair * pieces + i, begin, left * i, left) for i in range(pieces)]
    if rest:
        word, place = divmod(pair * rest, left)
        found.append((pieces * left + word, begin + place, left * pieces, rest))
    return found


def _shifts(numbers: npt.NDArray[np.int64]) -> UInt32Array:
    return numbers.astype(np.uint32)


def unpack_row(words: UInt32Array, length: int, bits: int) -> Int8Array:
    """The ``length`` weights that ``pack_row`` packed."""
    whole = length // BLOCK
    pairs = [_unpack_block(words[i * bits : (i + 1) * bits], bits) for i in range(whole)]
    pairs.append(_unpack_fields(words[whole * bits :], bits))
    flat = np.concatenate(pairs)
    flat = np.pad(flat, (0, len(flat) % 2)).reshape(-1, 2)
    halves = np.stack([flat & np.uint32(0xFFFF), flat >> np.uint32(_HALF_BITS)], axis=1)
    return (halves.reshape(-1)[:length].astype(np.int64) - (1 << (bits - 1))).astype(np.int8)


def _unpack_fields(words: UInt32Array, bits: int) -> UInt32Array:
    lanes = np.uint32(((1 << bits) - 1) * 0x00010001)
    shifts = _shifts(bits * np.arange(_HALF_BITS // bits))
    return (words[:, None] >> shifts & lanes).reshape(-1)


def _unpack_block(words: UInt32Array, bits: int) -> UInt32Array:
    pairs = [*_unpack_fields(words, bits)]
    for pair in range(_HALF_BITS % bits):
        value = np.uint32(0)
        for word, place, start, count in _left_pieces(pair, bits):
            lanes = np.uint32(((1 << count) - 1) * 0x00010001)
            value |= (words[word] >> np.uint32(place) & lanes) << np.uint32(start)
        pairs.append(value)
    return np.array(pairs, np.uint32)
