"""Tokenizer files for the rehearsal model, from the vocabulary that the Harmony library carries. Runs in the image."""

import json

from openai_harmony import (  # type: ignore[import-not-found,unused-ignore]
    HarmonyEncodingName,
    load_harmony_encoding,
)

VOCABULARY = 201_088  # as openai/gpt-oss-20b
FIRST_SPECIAL = 199_998
# How o200k cuts text into words before merging bytes.
WORD_PATTERN = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)


def byte_alphabet() -> dict[int, str]:
    """The printable character that byte-level BPE writes for each byte (as GPT-2 does)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(rest)}


def tokenizer_files() -> dict[str, str]:
    """tokenizer.json and its configuration, from the vocabulary that the Harmony library carries."""
    alphabet = byte_alphabet()
    pieces = [encoding._inner.decode_bytes([token]) for token in range(FIRST_SPECIAL)]
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    words = ["".join(alphabet[byte] for byte in piece) for piece in pieces]
    merges: list[list[str]] = []
    for piece, word in zip(pieces, words, strict=True):
        splits = [
            (ranks[piece[:cut]], ranks[piece[cut:]], cut)
            for cut in range(1, len(piece))
            if piece[:cut] in ranks and piece[cut:] in ranks
        ]
        merges += [[word[:cut], word[cut:]] for _, _, cut in sorted(splits)]
    special = [{"id": token, "content": encoding.decode([token]), "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True}
               for token in range(FIRST_SPECIAL, VOCABULARY)]  # fmt: skip
    split = {"type": "Split", "pattern": {"Regex": WORD_PATTERN}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": {word: token for token, word in enumerate(words)}, "merges": merges},
    }  # fmt: skip
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|startoftext|>", "eos_token": "<|return|>",
              "pad_token": "<|endoftext|>", "model_max_length": 131_072}  # fmt: skip
    return {"tokenizer.json": json.dumps(tokenizer, ensure_ascii=False), "tokenizer_config.json": json.dumps(config)}
