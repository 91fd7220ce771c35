"""Small tokenizers of every kind as model folders hold them, with the ids that transformers gives.

usage: tokenizer_folders.py [NAME ...]     -> tokenizer_folders.json beside this file, the other folders in it kept
needs: transformers 5.24, tokenizers 0.23

A folder is its files by name; vocabularies are trained on the demo's corpus. For each folder: the ids of some texts
without special tokens around them, the token that begins a text, and what stands around a text.
"""

import json
import os
import sys
import tempfile

from tokenizers import (
    Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers,
)
from transformers import AutoTokenizer

here = os.path.dirname(os.path.abspath(__file__))
corpus = [
    json.loads(line)["text"] for line in open(os.path.join(here, "../data/demo/corpus.jsonl"), encoding="utf-8")
]
TEXTS = [
    "The river ran past the old bank.",
    "  two spaces, a tab\tand\n\na line",
    "it's 12345 o'clock; we'll go",
    "naïve café — čas, ÿ, 日本語 и кириллица",
    "face \U0001F600 and flags \U0001F1E9\U0001F1EA",
    "a<|user|>b <|bot|> c<mask>d",
    "x<s>y</s> z <|endoftext|>",
    "[PAD] The [MASK] x",
    "ﬁne e\u0301 A\u030A",
    "",
]
END = "<|endoftext|>"


def byte_level(size=330):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return json.loads(tokenizer.to_str())


def llama():
    """As Llama's: SentencePiece's pieces by BPE, bytes for what is none."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)],
        limit_alphabet=60,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    whole = json.loads(tokenizer.to_str())
    whole["added_tokens"] = whole["added_tokens"][:3]
    return whole


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=250, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return json.loads(tokenizer.to_str())


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=250, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return json.loads(tokenizer.to_str())


def lines(word_piece):
    vocab = word_piece["model"]["vocab"]
    return "".join(f"{word}\n" for word in sorted(vocab, key=vocab.get))


def added(content, **flags):
    usual = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    return {"content": content, **usual, **flags}


base = byte_level()
n = len(base["model"]["vocab"])
two_files = {
    "vocab.json": base["model"]["vocab"],
    "merges.txt": "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in base["model"]["merges"]),
}
declared = {
    str(n): added("<|user|>"),
    str(n + 1): added("čas", normalized=True, special=False),
    str(n + 2): added("<mask>", lstrip=True),
    "0": added(END),
}
sentence_piece, pieces, words = llama(), unigram(), word_piece()
m = len(sentence_piece["model"]["vocab"])

FOLDERS = {
    "whole": ("gpt2", {"tokenizer.json": base}),
    "two_files": ("gpt2", two_files),
    "two_files_declared": (
        "opt",
        {
            **two_files,
            "tokenizer_config.json": {
                "tokenizer_class": "GPT2Tokenizer", "bos_token": added(END) | {"__type": "AddedToken"},
                "added_tokens_decoder": declared, "add_prefix_space": True,
            },
        },
    ),
    "two_files_qwen2": (
        "qwen2",
        {
            **two_files,
            "tokenizer_config.json": {
                "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": END,
                "additional_special_tokens": ["<|user|>", "<|bot|>"],
            },
        },
    ),
    "declared": (
        "gpt2",
        {
            "tokenizer.json": base,
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|user|>", "eos_token": END,
                "added_tokens_decoder": declared, "add_prefix_space": True, "pad_token": "[PAD]",
            },
            # Older files say nothing beside added_tokens_decoder.
            "special_tokens_map.json": {"bos_token": END, "sep_token": "<|bot|>"},
            "added_tokens.json": {"<s>": n},
        },
    ),
    "older": (
        "gpt2",
        {
            "tokenizer.json": base,
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END},
            "special_tokens_map.json": {
                "bos_token": {"content": "<|bot|>", "lstrip": False, "rstrip": False, "normalized": False},
                "pad_token": "[PAD]",
            },
            "added_tokens.json": {"<|user|>": n, "<|bot|>": n + 1, "čas": n + 2},
        },
    ),
    "prefixed": (
        "gpt2",
        {"tokenizer.json": base, "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}},
    ),
    "split_special": (
        "gpt2",
        {
            "tokenizer.json": base,
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "split_special_tokens": True},
        },
    ),
    "llama": (
        "llama",
        {
            "tokenizer.json": sentence_piece,
            "tokenizer_config.json": {
                "tokenizer_class": "TokenizersBackend", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "added_tokens_decoder": {
                    "0": added("<unk>"), "1": added("<s>"), "2": added("</s>"), str(m): added("<|user|>", special=False),
                },
            },
        },
    ),
    "unigram": ("gpt2", {"tokenizer.json": pieces, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}}),
    "words": (
        "bert",
        {"vocab.txt": lines(words), "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": False}},
    ),
    "words_lower": ("bert", {"vocab.txt": lines(words), "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast"}}),
    "word_piece": ("bert", {"tokenizer.json": words, "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": False}}),
}


def write(folder, model_type, files):
    json.dump({"model_type": model_type, "vocab_size": 500}, open(f"{folder}/config.json", "w"))
    for name, content in files.items():
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))


output = os.path.join(here, "tokenizer_folders.json")
out = {"texts": TEXTS, "files": {}, "folders": {}}
if sys.argv[1:]:
    out = json.load(open(output, encoding="utf-8"))
for name in sys.argv[1:] or FOLDERS:
    model_type, files = FOLDERS[name]
    with tempfile.TemporaryDirectory() as folder:
        write(folder, model_type, files)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
        # Files that folders share are written once.
        named = {}
        for file, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            key = next((k for k, v in out["files"].items() if v == text), f"{name}/{file}")
            out["files"][key] = text
            named[file] = key
        bos = tokenizer.bos_token_id
        out["folders"][name] = {"model_type": model_type, "files": named, "ids": ids, "bos": bos, "around": tokenizer("")["input_ids"], "class": type(tokenizer).__name__}
        print(name, type(tokenizer).__name__, bos, [len(i) for i in ids])
with open(output, "w", encoding="utf-8") as file:
    json.dump(out, file, ensure_ascii=False, indent=0)
    file.write("\n")
