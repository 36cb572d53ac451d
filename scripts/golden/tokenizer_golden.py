"""Makes fixtures/tokenizer: a random vocabulary, prompts, and the ids that transformers' CLIPTokenizer gives them.

Run from the repository's root: ``python scripts/golden/tokenizer_golden.py`` (transformers 5.23, tokenizers 0.23).
Training is not the same twice (ties), so a vocabulary that is there already is kept.
"""

import json
import random
import tempfile
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

FIXTURES = Path("fixtures/tokenizer")
DEMO = Path("models/demo")
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
CLIP_PIECES = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)

PHRASES = """a serene mountain landscape at sunset, photorealistic
The quick brown fox jumps over the lazy dog's back!!!
an oil painting of a cat, by Vermeer (1665) -- 8k, highly detailed
Straße in Köln, façade and naïve café, señor Ångström
Красная площадь зимой, снег и огни
夜の東京、雨に濡れた街 富士山の朝
北京的秋天 紅葉 長城
서울의 밤 거리, 한강의 다리
مدينة قديمة عند الغروب
ירושלים של זהב בלילה
ภูเขาและทะเลในฤดูร้อน
हिमालय में सूर्योदय
Ελληνική θάλασσα, ΟΔΥΣΣΕΥΣ
đường phố Hà Nội mùa thu
İstanbul'da gün batımı, ışık
👩‍👩‍👧‍👦 family 🏳️‍🌈 🚀✨ 🇩🇪 👍🏽
""".splitlines()

HAND_MADE = [
    "", " ", "   \t\n ", "\n", "\t", "\r\n", "a", "A", "!", "!!!", "! !", "a!b", "hello!", "!!!wow!!!", "?!?!", "...",
    "a.b.c", "--", "((a:1.2))", "[x]{y}", "<lora:name:0.8>", "a, b, c", "a  b\t\tc\n\nd", " leading", "trailing ",
    "it's", "IT'S", "don't", "we'll", "WE'LL", "they've", "I'm", "I'd", "you're", "'s", "''s", "' s", "'", "''''",
    "rock'n'roll", "o'clock", "’s it’s", "1", "42", "3.14159", "1,000,000", "2024-06-01", "x2y3", "٣٤٥", "१२३", "Ⅷ ½ ²", "①②③",
    "<|endoftext|>", "<|startoftext|>", "a<|endoftext|>b", "a <|endoftext|> b", "<|ENDOFTEXT|>", "<|StartOfText|> x",
    "<|endoftext|><|endoftext|>", "<|endoftext", "|endoftext|>", "<|<|endoftext|>|>", "< |endoftext|>",
    "<mark>", "a <mark> b", "a<mark>b", "<MARK>", "<wide>", "a   <wide>   b", "word <one> word", "word<one>word", "<one>.",
    "<mark><wide><one>", "<Case> <case> <CASE>", "<e\u0301> <\u00e9>",
    "Café", "Cafe\u0301", "CAFE\u0301", "n\u0303", "A\u030a", "\u212b", "\u1e9b\u0323", "q\u0307\u0323", "q\u0323\u0307",
    "\ufb01 ligature", "\uff21\uff22\uff23", "\u00df \u1e9e", "\u0130 \u0131 I i", "\u03a3 \u03c3 \u03c2", "ΑΣ ΑΣΑ ΟΔΟΣ", "\u01c5 \u01c4",
    "\u0345\u03b1", "\u0e01\u0e33", "\u0958 \u09dc", "\u1100\u1161\u11a8", "각 가", "\u115f\u1160", "\u0f77",
    "日本語", "日本語テキスト、です。", "中文，标点！", "한국어", "漢字かな交じり文123", "\u3000全角\u3000空白", "ﾊﾝｶｸ", "々〆", "𠮷野家", "\U0002a6d6",
    "مرحبا بالعالم", "שָׁלוֹם", "\u200fabc\u200e", "\u202eabc\u202c", "لا إله", "ไทย", "नमस्ते", "தமிழ்", "ქართული ᲥᲐᲠᲗᲣᲚᲘ", "ᏣᎳᎩ ꭰ",
    "😀", "😀😀", "a😀b", "👩‍👩‍👧‍👦", "👍🏽", "🏳️‍🌈", "🇩🇪🇫🇷", "1️⃣", "❤️", "☃", "☕️coffee", "🧑🏿‍🚀 in 🌌", "\U0001fae8", "\U000e0067",
    "\x00", "a\x00b", "\x01\x02\x03", "\x7f", "\x1b[31mred", "\x08", "a\x0bb\x0cc", "\x1c \x1d \x1e \x1f", "\x85", "a\x85b",
    "\xa0", "a\xa0b", "\xad", "so\xadft", "\u200b", "a\u200bb", "\u200c\u200d", "\u2028a\u2029b", "\u202f", "\u205f", "\u1680", "\u180e", "\ufeff",
    "\ufeffabc", "a\ufeffb", "\ufffd", "\uffff", "\ue000", "\U0010ffff", "\U0001d400\U0001d7d8", "\U00010400\U00010428", "\U0001e900",
    "\u1e9e\u0301", "\U0001e6c0x", "x\U0001e6c0", "\u088f", "!\ua7d2!", "\U00011de0", "\U00011935\U00011930", "\u1abf\u0334", "q\u08d3\u0323",
    "\U000105d2\u0307", "\U0001611e\U0001611e", "\u0897\u0300", "e\u1ac1\u0301", "\u1c89 \ua7cb \ua7da", "\U0001ccd6", "\U00010d40",
    "word " * 100, "!" * 200, "a" * 300, "ab" * 200, "1" * 90, "é" * 100, "😀" * 30, "the cat's " * 40, "x " * 74, "x " * 75, "x " * 76, "x " * 77,
    "supercalifragilisticexpialidocious", "antidisestablishmentarianism, PNEUMONOULTRAMICROSCOPICSILICOVOLCANOCONIOSIS",
    "http://example.com/?q=a&b=c#d", "user@example.com", "C:\\path\\file.txt", "a_b_c snake_case camelCase", "$100 €50 £20 ¥5 ₿1", "50% off + tax = 7/8",
    "«quoted» „so“ “so” ‘so’", "¿Qué? ¡Sí!", "…—–", "°C ±5 ×2 ÷3 ∞ ≠ √", "→ ← ↑", "™®©", "a\u0300\u0301\u0302\u0303\u0304b", "Z\u0351\u036b\u0343\u032a\u0302\u036b",
]


def prompts() -> list[str]:
    rng = random.Random(5)
    mixed = []
    for _ in range(30):
        parts = rng.choices(PHRASES + HAND_MADE[1:170], k=rng.randint(2, 5))
        mixed.append(rng.choice(["", " ", ", ", "'", "\n"]).join(part[:120] for part in parts))
    for _ in range(20):
        mixed.append("".join(chr(rng.choice(RANDOM_RANGES)) for _ in range(rng.randint(1, 25))))
    return PHRASES + HAND_MADE + mixed


RANDOM_RANGES = [c for c in range(0x20, 0x3100)] + list(range(0xA000, 0xD7A4)) + list(range(0xF900, 0x11100))


def train() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """About 1,500 tokens in CLIP's order: bytes, bytes that end a word, merges, the two special tokens."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    rng = random.Random(7)
    words = [word for phrase in PHRASES + HAND_MADE for word in phrase.split()]
    texts = PHRASES * 20 + [" ".join(rng.choices(words, k=8))[:200] for _ in range(3000)]
    trainer = trainers.BpeTrainer(vocab_size=1600, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters.remove("!")
    letters.insert(0, "!")
    tokens = letters + [letter + "</w>" for letter in letters]
    for left, right in merges:
        if left + right not in tokens:
            tokens.append(left + right)
    tokens = tokens[:1498]
    known = set(tokens)
    merges = [(a, b) for a, b in merges if a in known and b in known and a + b in known]
    # Merges out of order and a pair that reaches a token by another way, as no trainer would write them.
    rng.shuffle(merges)
    return {token: number for number, token in enumerate([*tokens, BOS, EOS])}, merges


def kept() -> tuple[dict[str, int], list[tuple[str, str]]] | None:
    """The vocabulary and merges that are in the fixtures, if any."""
    if not (FIXTURES / "vocab.json").exists():
        return None
    vocab = json.loads((FIXTURES / "vocab.json").read_text(encoding="utf-8"))
    lines = (FIXTURES / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    return vocab, [tuple(line.split(" ")) for line in lines]


def token(content: str, **flags: bool) -> dict[str, object]:
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False, **flags}


def added(number: int, content: str, **flags: bool) -> dict[str, object]:
    return {"id": number, "special": True, **token(content, normalized=False), **flags}


def cases(vocab: dict[str, int]) -> list[dict[str, object]]:
    """The ways in which published folders write their special tokens, and some that none does."""
    named = {"bos_token": token(BOS), "eos_token": token(EOS), "unk_token": token(EOS)}
    typed = {key: {"__type": "AddedToken", **value} for key, value in named.items()}
    size = len(vocab)
    odd = [
        added(size, "<mark>"),
        added(size + 1, "<wide>", lstrip=True, rstrip=True),
        added(size + 2, "<one>", single_word=True, special=False),
        added(size + 3, "<Case>", normalized=True, special=False),
        added(size + 4, "<e\u0301>", normalized=True),
    ]
    both = [added(vocab[BOS], BOS), added(vocab[EOS], EOS)]
    return [
        {"name": "sdxl tokenizer", "config": {**typed, "model_max_length": 77, "pad_token": EOS}, "map": {**named, "pad_token": EOS}},
        {"name": "sdxl tokenizer_2", "config": {**typed, "model_max_length": 77, "pad_token": "!"}, "map": {**named, "pad_token": "!"}},
        {"name": "no map", "config": {"model_max_length": 77, "pad_token": "!"}},
        {"name": "map only", "config": {"model_max_length": 77}, "map": {**named, "pad_token": "!"}},
        {"name": "pad as a token", "config": {"model_max_length": 77, "pad_token": {"__type": "AddedToken", **token(EOS)}}},
        {"name": "short, left", "config": {"model_max_length": 16, "padding_side": "left", "truncation_side": "left"}},
        {"name": "tokenizer.json", "config": {"model_max_length": 77}, "added": both, "json": True},
        {"name": "odd tokens", "config": {"model_max_length": 77, "pad_token": "!"}, "added": [*both, *odd], "json": True},
        {
            "name": "added_tokens_decoder",
            "config": {
                "model_max_length": 40,
                "pad_token": "<pad>",
                "added_tokens_decoder": {
                    str(entry["id"]): {key: value for key, value in entry.items() if key != "id"} for entry in [*odd, *both]
                },
                "additional_special_tokens": ["cat"],
            },
            "map": {"pad_token": "!"},
            "added": both,
            "json": True,
        },
        # added_tokens.json of older transformers, as embeddings trained into a tokenizer (textual inversion, pivotal tuning) have it.
        {"name": "added_tokens.json", "config": {**typed, "model_max_length": 77, "pad_token": "!"}, "file": trained(size)},
        {
            "name": "added_tokens.json, its tokens named special too",
            "config": {"model_max_length": 77, "additional_special_tokens": ["<mark>"], "mask_token": "<One>"},
            "map": {**named, "extra_special_tokens": ["<wide>"], "additional_special_tokens": ["<Case>"]},
            "file": {**trained(size), "<One>": size + 4, EOS: vocab[EOS], "cat": size + 9},
        },
        {"name": "added_tokens.json beside tokenizer.json", "config": {"model_max_length": 77}, "file": trained(size), "added": [*both, *odd[:2]], "json": True},
        {
            "name": "added_tokens.json under added_tokens_decoder",
            "config": {"model_max_length": 77, "added_tokens_decoder": {str(size): token("<wide>", special=True)}},
            "file": trained(size),
        },
        {"name": "added_tokens.json alone, out of order, with CLIP's own", "config": {"model_max_length": 77}, "file": {"<Case>": size + 5, "<one>": size, BOS: vocab[BOS], "the": 7}},
        {"name": "another map", "config": {**typed, "model_max_length": 77, "pad_token": "!", "mask_token": "<mark>"}, "map": {"pad_token": "the", "mask_token": "<Case>"}},
        {
            "name": "roles with flags of their own, and without",
            "config": {
                "model_max_length": 77,
                "mask_token": {"__type": "AddedToken", **token("<Case>", normalized=False)},
                "cls_token": {"__type": "AddedToken", "content": "<MARK>"},
                "sep_token": {"__type": "AddedToken", **token("<one>", single_word=True)},
                "additional_special_tokens": [{"__type": "AddedToken", "content": "<WIDE>"}],
            },
        },
        {
            "name": "listed tokens without flags",
            "config": {
                "model_max_length": 77,
                "added_tokens_decoder": {
                    str(size): {"content": "<Case>", "special": True},
                    str(size + 1): {"content": "<MARK>", "special": False},
                    str(size + 2): {"content": "<Wide>"},
                },
            },
        },
    ]


def trained(size: int) -> dict[str, int]:
    """In the order of no id."""
    return {"<Case>": size + 3, "<mark>": size, "<one>": size + 1, "<wide>": size + 2}


def write_folder(folder: Path, case: dict[str, object], vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **case["config"]}))
    if "map" in case:
        (folder / "special_tokens_map.json").write_text(json.dumps(case["map"]))
    if "file" in case:
        (folder / "added_tokens.json").write_text(json.dumps(case["file"]))
    if case.get("json"):
        model = {"type": "BPE", "vocab": vocab, "merges": [list(pair) for pair in merges]}
        root = {"version": "1.0", "added_tokens": case["added"], "model": model}
        (folder / "tokenizer.json").write_text(json.dumps(root))
    else:
        (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def encode(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """The ids without the run of padding at the end (or start) that fills them up to the full length."""
    length = tokenizer.model_max_length
    ids = tokenizer(text, padding="max_length", max_length=length, truncation=True).input_ids
    assert len(ids) == length
    if tokenizer.padding_side == "left":
        return ids
    while len(ids) > 2 and ids[-1] == tokenizer.pad_token_id and ids[-2] == tokenizer.pad_token_id:
        ids.pop()
    return ids


def class_ranges(pattern: str) -> list[list[int]]:
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    ranges: list[list[int]] = []
    for point in range(0x110000):
        if 0xD800 <= point < 0xE000 or not split.pre_tokenize_str(chr(point)):
            continue
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return ranges


def main() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    vocab, merges = kept() or train()
    texts = prompts()
    results = []
    for case in cases(vocab):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_folder(folder, case, vocab, merges)
            tokenizer = CLIPTokenizer.from_pretrained(folder)
            special = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
            results.append({**case, **special, "ids": [encode(tokenizer, text) for text in texts]})
    demo = {}
    for name in ("tokenizer", "tokenizer_2"):
        tokenizer = CLIPTokenizer.from_pretrained(DEMO / name)
        demo[name] = [encode(tokenizer, text) for text in texts]

    def dump(name: str, value: object) -> None:
        (FIXTURES / name).write_text(json.dumps(value, separators=(",", ":")) + "\n")

    (FIXTURES / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (FIXTURES / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dump("golden.json", {"prompts": texts, "cases": results, "demo": demo})
    dump(
        "unicode.json",
        {name: class_ranges(rx) for name, rx in {"letter": r"\p{L}", "number": r"\p{N}", "space": r"\s"}.items()},
    )
    print(len(vocab), "tokens,", len(merges), "merges,", len(texts), "prompts")


if __name__ == "__main__":
    main()
