"""Small GGUF files of every kind that is read, with what they hold by other programs.

usage: gguf_files.py              -> ../data/gguf/*.gguf, and gguf_files.json beside this file
       gguf_files.py text BYTES   -> text of every script on standard output
needs: gguf 0.17, transformers 5.24, tokenizers 0.23, sentencepiece 0.2, numpy

Numbers of quantized types are those of the package gguf, kept as float32 tensors in the same file. Ids are those of a
tokenizer.json with the same vocabulary (tokenizers), and of SentencePiece for its own model.
"""

import io
import json
import os
import random
import sys
import unicodedata

here = os.path.dirname(os.path.abspath(__file__))
data = os.path.join(here, "../data/gguf")

SCRIPTS = [
    (0x20, 0x7E), (0xA1, 0x17F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x58F),
    (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7B1), (0x7C0, 0x7FA), (0x900, 0x97F), (0x980, 0x9FE),
    (0xA01, 0xA76), (0xA81, 0xAFF), (0xB01, 0xB77), (0xB82, 0xBFA), (0xC00, 0xC7F), (0xC80, 0xCF3), (0xD00, 0xD7F),
    (0xD81, 0xDF4), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x1200, 0x137C), (0x13A0, 0x13FD), (0x1400, 0x167F), (0x1680, 0x169C), (0x16A0, 0x16F8),
    (0x1780, 0x17F9), (0x1800, 0x18AA), (0x1D00, 0x1DBF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x206F),
    (0x2070, 0x209C), (0x20A0, 0x20C0), (0x2100, 0x218B), (0x2190, 0x22FF), (0x2460, 0x24FF), (0x2500, 0x25FF),
    (0x2600, 0x27BF), (0x2C00, 0x2C5F), (0x2D30, 0x2D7F), (0x3000, 0x303F), (0x3041, 0x309F), (0x30A0, 0x30FF),
    (0x3105, 0x312F), (0x3131, 0x318E), (0x3200, 0x33FF), (0x3400, 0x34FF), (0x4E00, 0x9FFF), (0xA000, 0xA48C),
    (0xA640, 0xA69F), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFB00, 0xFB4F), (0xFE10, 0xFE6F), (0xFF01, 0xFFEE),
    (0x10000, 0x100FA), (0x10330, 0x1034A), (0x10380, 0x103D5), (0x10900, 0x1091B), (0x12000, 0x12399),
    (0x13000, 0x1342E), (0x1D400, 0x1D7FF), (0x1F100, 0x1F1FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6D0),
]
PLAIN = "the of river bank it's we'll They're don't I'M 12 2026 3.14 1,000,000 x_y foo(bar) <b> --- ... !? \"so\"".split()
GAPS = [" ", " ", " ", " ", "  ", "   ", "\n", "\n\n", " \n ", "\t", "\r\n", "\u00a0", "\u3000", "", "\n\n\n", "    "]


def every_script(n_bytes, seed=0):
    """Words of letters, marks and digits of one script after the other, with gaps of every kind."""
    rng = random.Random(seed)
    known = []
    for first, last in SCRIPTS:
        chars = [chr(c) for c in range(first, last + 1)]
        known.append([c for c in chars if unicodedata.category(c) not in ("Cn", "Cs", "Co", "Cc")])
    out, size, script = [], 0, 0
    while size < n_bytes:
        for _ in range(rng.randint(1, 6)):
            if rng.random() < 0.3:
                word = rng.choice(PLAIN)
            else:
                chars = known[script % len(known)]
                word = "".join(rng.choice(chars) for _ in range(rng.randint(1, 9)))
            word += rng.choice(GAPS)
            out.append(word)
            size += len(word.encode())
        script += 1
    return "".join(out)


if sys.argv[1:2] == ["text"]:
    sys.stdout.buffer.write(every_script(int(sys.argv[2])).encode())
    sys.exit()

sys.path = [p for p in sys.path if os.path.abspath(p or ".") != here]

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import sentencepiece  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS  # noqa: E402
from transformers.tokenization_utils_base import generate_merges  # noqa: E402

os.makedirs(data, exist_ok=True)
corpus = [
    json.loads(line)["text"] for line in open(os.path.join(here, "../data/demo/corpus.jsonl"), encoding="utf-8")
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<think>"]
TEXTS = [
    "The river ran past the old bank.", "  two spaces, a tab\tand\n\n\na line  \n x", "it's 12345 o'clock; WE'LL go",
    "naïve café, e\u0301 A\u030A, 日本語 и кириллица ١٢٣ ४५", "face \U0001F600\u200d\U0001F469 flags \U0001F1E9\U0001F1EA",
    "a<|im_start|>b <think> c</think><|endoftext|>", "a.b/c//d\r\n\r\ne", "", " ", "\n",
    every_script(1200, 1), every_script(1200, 2),
]


def writer(name, architecture="llama"):
    return gguf.GGUFWriter(os.path.join(data, name), architecture)


def close(out):
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def types():
    """A tensor of every type that is read, and its numbers; one of a type that is not."""
    rng = np.random.default_rng(0)
    out = writer("types.gguf")
    kinds = gguf.GGMLQuantizationType
    numbers = rng.standard_normal((2, 256)).astype(np.float32)
    out.add_tensor("F32", numbers)
    out.add_tensor("F16", numbers.astype(np.float16))
    out.add_tensor("F16.numbers", numbers.astype(np.float16).astype(np.float32))
    for kind in [kinds.BF16, kinds.Q4_0, kinds.Q4_1, kinds.Q5_0, kinds.Q5_1, kinds.Q8_0]:
        raw = gguf.quants.quantize(numbers, kind)
        out.add_tensor(kind.name, raw, raw_dtype=kind)
        out.add_tensor(f"{kind.name}.numbers", gguf.quants.dequantize(raw, kind))
    # Nothing writes these in Python: any bytes are blocks, but for the scales, which are float16.
    places = {kinds.Q2_K: (80, 82), kinds.Q3_K: (108,), kinds.Q4_K: (0, 2), kinds.Q5_K: (0, 2), kinds.Q6_K: (208,)}
    for kind, scales in places.items():
        _, size = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (2, 1, size), dtype=np.uint8)
        for at in scales:
            scale = rng.uniform(-0.1, 0.1, (2, 1, 1)).astype(np.float16)
            raw[:, :, at:at + 2] = scale.view(np.uint8).reshape(2, 1, 2)
        raw = raw.reshape(2, size)
        out.add_tensor(kind.name, raw, raw_dtype=kind)
        out.add_tensor(f"{kind.name}.numbers", gguf.quants.dequantize(raw, kind))
    _, size = gguf.GGML_QUANT_SIZES[kinds.IQ4_XS]
    out.add_tensor("IQ4_XS", np.zeros((2, size), np.uint8), raw_dtype=kinds.IQ4_XS)
    out.add_uint64("counts.u64", 2**63 + 1)
    out.add_float32("counts.f32", 1e-5)
    out.add_array("counts.list", [1, 2, 3])
    close(out)


def byte_level(split, digits=False, whole_words=False, nfc=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole_words))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    before = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if split:
        before.append(pre_tokenizers.Split(Regex(split), behavior="isolated"))
    before.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(before)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=SPECIAL[:2], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(SPECIAL[2], normalized=False)])
    return tokenizer


def write_byte_level(pre, tokenizer):
    whole = json.loads(tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    name = f"{pre}.gguf"
    out = writer(name)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_token_list(tokens)
    out.add_token_types([3 if t in SPECIAL[:2] else 4 if t == SPECIAL[2] else 1 for t in tokens])
    out.add_token_merges([" ".join(m) for m in whole["model"]["merges"]])
    out.add_bos_token_id(1)
    close(out)
    return {"ids": [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS], "bos": 1}


def piece_types(proto_model):
    kinds = []
    for i in range(proto_model.get_piece_size()):
        if proto_model.is_unknown(i):
            kinds.append(2)
        elif proto_model.is_control(i):
            kinds.append(3)
        elif proto_model.is_byte(i):
            kinds.append(6)
        elif proto_model.is_unused(i):
            kinds.append(5)
        else:
            kinds.append(1)
    return kinds


def sentence_piece(name, prefix, architecture):
    """SentencePiece's BPE with bytes for what is no piece, as Llama's and Gemma's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="bpe", vocab_size=600, byte_fallback=True,
        add_dummy_prefix=prefix, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, character_coverage=0.995, minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    tokens = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    scores = [processor.get_score(i) for i in range(len(tokens))]
    kinds = piece_types(processor)
    out = writer(f"{name}.gguf", architecture)
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_scores(scores)
    out.add_token_types(kinds)
    out.add_bos_token_id(1)
    out.add_add_space_prefix(prefix)
    close(out)
    # As transformers makes a tokenizer.json of it.
    vocab = {t: i for i, t in enumerate(tokens)}
    merges = generate_merges(vocab, {t: (s if architecture == "llama" else -i) for i, (t, s) in enumerate(zip(tokens, scores))})
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if prefix else space
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in tokens[:3]])
    ids = [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS]
    # SentencePiece itself knows no added tokens, so that texts with one differ.
    own = [processor.encode(t) if not any(s in t for s in tokens[:3]) else None for t in TEXTS]
    differ = [i for i, (a, b) in enumerate(zip(ids, own)) if b is not None and a != b]
    print(name, "differs from SentencePiece in", differ)
    return {"ids": ids, "sentencepiece": own, "bos": 1}


types()
splits = GGUF_PRE_TOKENIZER_SPLITS
out = {
    "texts": TEXTS,
    "gpt-2": write_byte_level("gpt-2", byte_level(None)),
    "smollm": write_byte_level("smollm", byte_level(None, digits=True)),
    "qwen2": write_byte_level("qwen2", byte_level(splits["qwen2"], nfc=True)),
    "llama-bpe": write_byte_level("llama-bpe", byte_level(splits["llama-bpe"], whole_words=True)),
    "smaug-bpe": write_byte_level("smaug-bpe", byte_level(splits["smaug-bpe"])),
    "tekken": write_byte_level("tekken", byte_level(splits["tekken"], whole_words=True)),
    "gpt-4o": write_byte_level("gpt-4o", byte_level(splits["gpt-4o"])),
    "llama-spm": sentence_piece("llama-spm", True, "llama"),
    "gemma-spm": sentence_piece("gemma-spm", False, "gemma2"),
}
with open(os.path.join(here, "gguf_files.json"), "w", encoding="utf-8") as file:
    json.dump(out, file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n")
