"""Damage of all kinds to bytes, JSON and words, drawn from a random number generator."""

import json

LENGTHS = (1, 2, 4, 8)
EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**30,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "a",
    "../../outside",
    "/etc/passwd",
    "\x00",
    "\ud800",
    "\n\x1b[2J",
    "9" * 5000,
    [],
    {},
    [[[]]],
)
"""What no reader of JSON expects in a place of its own choosing."""


def mutated(data, draw):
    """The bytes with one to four pieces of damage; never the same bytes, but for luck."""
    data = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        if data:
            draw.choice(_DAMAGES)(data, draw)
    return bytes(data)


def _flip(data, draw):
    for _ in range(draw.choice((1, 1, 2, 8))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _overwrite(data, draw):
    at = draw.randrange(len(data))
    data[at : at + draw.choice((1, 2, 4, 16))] = draw.randbytes(draw.choice((1, 2, 4, 16)))


def _truncate(data, draw):
    del data[draw.randrange(len(data)) :]


def _extreme(data, draw):
    """A length, an offset or a count at a limit of its type, in either byte order."""
    length, at = draw.choice(LENGTHS), draw.randrange(len(data))
    number = draw.choice(EXTREMES) % 256**length
    data[at : at + length] = number.to_bytes(length, draw.choice(("little", "big")))


def _a_little_off(data, draw):
    """A number in the file, one or two more or less."""
    length, at = draw.choice(LENGTHS), draw.randrange(len(data))
    order = draw.choice(("little", "big"))
    number = int.from_bytes(data[at : at + length], order) + draw.choice((-2, -1, 1, 2))
    data[at : at + length] = (number % 256**length).to_bytes(length, order)


def _splice(data, draw):
    """A part of the file in another place of it."""
    length = draw.choice((4, 16, 64, 1024))
    start, at = draw.randrange(len(data)), draw.randrange(len(data))
    data[at : at + draw.choice((0, length))] = data[start : start + length]


def _repeat(data, draw):
    length = draw.choice((1, 8, 64, 512))
    start = draw.randrange(len(data))
    chunk = bytes(data[start : start + length])
    data[start:start] = chunk * draw.choice((1, 10, max(1, 20_000 // length)))


def _remove(data, draw):
    start = draw.randrange(len(data))
    del data[start : start + draw.choice((1, 2, 4, 64, 1024))]


def _zeros(data, draw):
    start, length = draw.randrange(len(data)), draw.choice((8, 512))
    data[start : start + length] = bytes(min(length, len(data) - start))


_DAMAGES = (
    _flip,
    _overwrite,
    _truncate,
    _extreme,
    _a_little_off,
    _splice,
    _repeat,
    _remove,
    _zeros,
)


def mutated_json(data, draw):
    """A text of JSON that still is one, mostly, but says something else."""
    if draw.random() < 0.3:
        return mutated(data, draw)
    tree = json.loads(data)
    for _ in range(draw.randint(1, 3)):
        tree = _changed(tree, draw)
    text = json.dumps(tree)
    if draw.random() < 0.05:
        text = "[" * 100_000 + text
    return text.encode()


def _changed(tree, draw):
    """A copy of a tree with one place of it changed: a value, a key, a length or an order."""
    if isinstance(tree, dict) and tree and draw.random() < 0.9:
        key = draw.choice(sorted(tree))
        match draw.randrange(8):
            case 0:
                return {k: v for k, v in tree.items() if k != key}
            case 1:
                return {("\x00../" + k if k == key else k): v for k, v in tree.items()}
            case 2:
                return {**tree, key: tree[draw.choice(sorted(tree))]}
        return {**tree, key: _changed(tree[key], draw)}
    if isinstance(tree, list) and tree and draw.random() < 0.8:
        at = draw.randrange(len(tree))
        match draw.randrange(4):
            case 0:
                return tree[:at] + tree[at + 1 :]
            case 1:
                return tree + [tree[at]] * draw.choice((1, 1000))
        return [*tree[:at], _changed(tree[at], draw), *tree[at + 1 :]]
    if isinstance(tree, str) and tree and draw.random() < 0.4:
        return mutated(tree.encode(errors="surrogatepass"), draw).decode("latin-1")
    if type(tree) is int and draw.random() < 0.4:
        return draw.choice((tree + 1, -tree, tree * 2**20, str(tree), float(tree)))
    return draw.choice(VALUES)


def mutated_words(text, draw):
    """A line of text with letters and words changed, doubled, swapped or gone; UTF-8 still."""
    letters = list(text)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(letters) + 1)
        match draw.randrange(6):
            case 0:
                letters[at:at] = draw.choice("=.,-_'\"()[]{}|*\\ \t0919eE\x00\n\u0663\U0001f600")
            case 1:
                del letters[at : at + draw.choice((1, 1, 8))]
            case 2:
                letters[at : at + 1] = chr(draw.randrange(32, 0x3000))
            case 3:
                words = ("nan", "inf", "1e999", "None", "True", "..", "9" * 5000)
                letters[at:at] = draw.choice(words)
            case 4:
                start = draw.randrange(len(letters) + 1)
                letters[at:at] = letters[start : start + 8]
            case 5:
                letters[at:at] = draw.choice(("-1", "=", "--config", "../", "(", ")" * 100))
    return "".join(letters)
