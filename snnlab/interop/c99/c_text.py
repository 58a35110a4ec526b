"""Lines of C, and the functions that each network has."""

from __future__ import annotations

from collections.abc import Iterable

from snnlab.interop.c99.expressions import c_float

Lines = list[str]

HELPERS = """\
static inline int lowest(uint32_t bits) {
#ifdef __GNUC__
    return __builtin_ctz(bits);
#else
    int n = 0;
    while (!(bits & 1u)) { bits >>= 1; n++; }
    return n;
#endif
}

static inline void mark(uint32_t *marks, int p, int is_marked) { marks[p >> 5] |= (uint32_t)is_marked << (p & 31); }

static inline void mark_some(uint32_t *marks, int first, int end) {
    while (first < end) {
        const int after = (first | 31) + 1, n = (end < after ? end : after) - first;
        marks[first >> 5] |= (0xFFFFFFFFu >> (32 - n)) << (first & 31);
        first = after;
    }
}

static inline void clear(float *x, uint32_t *marks, int words, int channels) {
    for (int w = 0; w < words; w++) {
        for (uint32_t bits = marks[w]; bits != 0; bits &= bits - 1u)
            memset(x + (32 * w + lowest(bits)) * channels, 0, (size_t)channels * sizeof *x);
        marks[w] = 0;
    }
}""".splitlines()

# The operations of `snnlab.kernels.runtime.exp_` in single precision, in its order.
EXP = [
    "",
    *"""\
static inline float exp_(float x) {
    if (x != x) return x;
    const float high = x > LOW ? x : LOW;
    const float z = high < HIGH ? high : HIGH;
    const float k = floorf(z * PER + 0.5f);
    const float f = (z - k * UPPER) - k * LOWER;
    float p = 1.0f + f * C6;
    p = 1.0f + f * (1.0f + f * C2 * (1.0f + f * C3 * (1.0f + f * C4 * (1.0f + f * C5 * p))));
    union { int32_t bits; float value; } power;
    power.bits = (int32_t)((uint32_t)((int32_t)k + 127) << 23);
    return p * power.value;
}""".replace("LOWER", c_float(-2.12194440e-4))
    .replace("LOW", c_float(-88.0296))
    .replace("HIGH", c_float(88.37))
    .replace("UPPER", c_float(0.693359375))
    .replace("PER", c_float(1.4426950408889634))
    .replace("C2", c_float(1 / 2))
    .replace("C3", c_float(1 / 3))
    .replace("C4", c_float(1 / 4))
    .replace("C5", c_float(1 / 5))
    .replace("C6", c_float(1 / 6))
    .splitlines(),
]


def indented(lines: Iterable[str]) -> Lines:
    """Return lines with four more spaces."""
    return ["    " + line for line in lines]


def block(head: str, body: Iterable[str]) -> Lines:
    """Return the lines of a block."""
    return [f"{head} {{", *indented(body), "}"]


def loop(name: str, end: int | str, body: Iterable[str], first: int | str = 0) -> Lines:
    """Return a loop over whole numbers."""
    return block(f"for (int {name} = {first}; {name} < {end}; {name}++)", body)


def marked_pixels(marks: str, pixels: int, body: Iterable[str], *, clears: bool = False) -> Lines:
    """Return a loop over the marked pixels `p`, in order."""
    inner = block("for (; bits != 0; bits &= bits - 1u)", ["const int p = 32 * w + lowest(bits);", *body])
    taken = [f"uint32_t bits = {marks}[w];", *[f"{marks}[w] = 0;"] * clears]
    return loop("w", (pixels + 31) // 32, [*taken, *inner])


def target(name: str, text: str, stride: int, size: int) -> Lines:
    """Return the lines that find the output of an input, or go on with the next kernel element."""
    if stride == 1:
        return [f"const int {name} = {text};", f"if ({name} < 0 || {name} >= {size}) continue;"]
    return [
        f"const int far_{name} = {text};",
        f"if (far_{name} < 0 || far_{name} % {stride} != 0 || far_{name} / {stride} >= {size}) continue;",
        f"const int {name} = far_{name} / {stride};",
    ]
