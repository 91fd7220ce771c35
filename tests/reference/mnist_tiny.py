"""Sixty small pictures of digits in MNIST's four idx files, a classifier for them, and what its neurons do on them.

    python tests/reference/mnist_tiny.py        (Python 3, no packages; writes tests/data/mnist-tiny and mnist_tiny.json)

The pictures are seven-segment digits, moved, thickened and blurred a little at random; training files are gzipped,
test files plain. The classifier's weights are random, its arithmetic is done here in double precision.
"""
import gzip
import json
import random
import struct
from pathlib import Path

here = Path(__file__).parent
folder = here.parent / "data" / "mnist-tiny"
rng = random.Random(31)

# Corners (row, column) of the seven segments, and which of them a digit has.
SEGMENTS = {
    "top": ((4, 9), (4, 18)), "middle": ((13, 9), (13, 18)), "bottom": ((22, 9), (22, 18)),
    "upper left": ((4, 9), (13, 9)), "upper right": ((4, 18), (13, 18)),
    "lower left": ((13, 9), (22, 9)), "lower right": ((13, 18), (22, 18)),
}
DIGITS = ["top bottom upper-left upper-right lower-left lower-right", "upper-right lower-right",
          "top middle bottom upper-right lower-left", "top middle bottom upper-right lower-right",
          "middle upper-left upper-right lower-right", "top middle bottom upper-left lower-right",
          "top middle bottom upper-left lower-left lower-right", "top upper-right lower-right",
          "top middle bottom upper-left upper-right lower-left lower-right", "top middle bottom upper-left upper-right lower-right"]


def picture(digit):
    shift = rng.randint(-3, 3), rng.randint(-4, 4)
    thick = rng.choice([0, 1, 1])
    ink = [[0.0] * 28 for _ in range(28)]
    for name in DIGITS[digit].split():
        (r0, c0), (r1, c1) = SEGMENTS[name.replace("-", " ")]
        for r in range(r0 - thick, r1 + thick + 1):
            for c in range(c0 - thick, c1 + thick + 1):
                y, x = r + shift[0], c + shift[1]
                if 0 <= y < 28 and 0 <= x < 28:
                    ink[y][x] = 1.0

    def blurred(y, x):
        around = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        values = [ink[a][b] for a, b in around if 0 <= a < 28 and 0 <= b < 28]
        return 0.6 * ink[y][x] + 0.4 * sum(values) / 9
    return bytes(min(255, int(255 * blurred(y, x))) for y in range(28) for x in range(28))


def split(n, prefix, opened, ending):
    labels = [i % 10 for i in range(n)]
    rng.shuffle(labels)
    images = [picture(label) for label in labels]
    with opened(folder / f"{prefix}-images-idx3-ubyte{ending}") as file:
        file.write(struct.pack(">4I", 0x803, n, 28, 28) + b"".join(images))
    with opened(folder / f"{prefix}-labels-idx1-ubyte{ending}") as file:
        file.write(struct.pack(">2I", 0x801, n) + bytes(labels))
    return images, labels


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def normalised(image):
    return [f32(f32(f32(f32(x / 255) - f32(0.1307))) / f32(0.3081)) for x in image]


def safetensors(path, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def zipped(path):
    # No name and no time in it, so that it is the same file every time.
    return gzip.GzipFile(filename="", mode="wb", fileobj=open(path, "wb"), mtime=0)


folder.mkdir(parents=True, exist_ok=True)
train, train_labels = split(40, "train", zipped, ".gz")
test, test_labels = split(20, "t10k", lambda path: open(path, "wb"), "")

HIDDEN = 6
weights = [[f32(rng.gauss(0, 0.04)) for _ in range(784)] for _ in range(HIDDEN)]
bias = [f32(rng.gauss(0, 0.3)) for _ in range(HIDDEN)]
out_weights = [[f32(rng.gauss(0, 0.5)) for _ in range(HIDDEN)] for _ in range(10)]
out_bias = [f32(rng.gauss(0, 0.1)) for _ in range(10)]
flat = lambda rows: [x for row in rows for x in row]
safetensors(folder / "mlp.safetensors", {
    "layers.0.weight": ([HIDDEN, 784], flat(weights)), "layers.0.bias": ([HIDDEN], bias),
    "layers.1.weight": ([10, HIDDEN], flat(out_weights)), "layers.1.bias": ([10], out_bias)})

dot = lambda a, b: sum(x * y for x, y in zip(a, b))
inputs = [normalised(image) for image in train + test]
pre = [[dot(w, x) + b for w, b in zip(weights, bias)] for x in inputs]
hidden = [[max(0.0, x) for x in row] for row in pre]
logits = [[dot(w, a) + b for w, b in zip(out_weights, out_bias)] for a in hidden]

LEAST = 0.5
examples = []
for neuron in range(HIDDEN):
    column = [row[neuron] for row in hidden]
    assert all(abs(a - LEAST) > 1e-4 for a in column), "no example hangs on a rounding"
    examples.append([[i, a] for i, a in enumerate(column) if a >= LEAST])
for row in logits:
    assert sorted(row)[-1] - sorted(row)[-2] > 1e-4, "no prediction hangs on a rounding"
found = {
    "labels": train_labels + test_labels,
    "min_activation": LEAST,
    "max_activation": [max(row[n] for row in hidden) for n in range(HIDDEN)],
    "examples": examples,
    "pre": pre[:3] + pre[40:43],
    "predicted": [row.index(max(row)) for row in logits],
    "pixels_of_document_41": inputs[41],
}
lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
(here / "mnist_tiny.json").write_text("{\n" + lines + "\n}\n")
