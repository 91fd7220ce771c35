"""The order of `shuffle: SEED`: Fisher and Yates from the last document down, with SplitMix64's numbers scaled to an
index (the high 64 bits of the product with its end). Prints what tests/ingest/corpora.rs expects. Python alone."""

MASK = (1 << 64) - 1


def splitmix64(state):
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def order(n, seed):
    items, bits = list(range(n)), splitmix64(seed)
    for i in range(n - 1, 0, -1):
        j = (next(bits) * (i + 1)) >> 64
        items[i], items[j] = items[j], items[i]
    return items


if __name__ == "__main__":
    print(order(12, 7))
