"""The page of an exported network: what is in its folder, what it needs, how it is used."""

from __future__ import annotations

from collections.abc import Sequence

from snnlab.interop.c99.c_network import CNetwork

_TEXT = """\
# {title}

A network as C99, written by snnlab. It uses no library but `math.h`, and no heap.

```
{lines}
```

| file | what it is |
|---|---|
| `{name}.h`, `{name}.c` | the network: its state, `{name}_reset`, `{name}_step`; the weights are constants |
| `main.c`, `recording.bin` | a program that replays a recording, and compares each output |
| `Makefile` | `make` builds `lib{name}.so`, `make check` replays the recording |
| `network.py` | the network from Python, with ctypes and numpy alone; `python network.py FIFO` answers events |

```c
#include "{name}.h"

static {name}_state state;
static float output[{upper}_OUTPUTS];

{name}_reset(&state);
/* at the end of each step: its events, in any order */
{name}_step(&state, events, number, output);
```

Compile without `-ffast-math`, and with `-ffp-contract=off` where it is neither gcc nor clang; then each output has the
bits that snnlab computes.
Anyone may use the text of these files for any purpose (SPDX-License-Identifier: 0BSD); the weights are yours.
"""


def page(network: CNetwork, title: str, lines: Sequence[str]) -> str:
    """Return the page.

    Args:
        network: The network.
        title: What it is.
        lines: What it needs and what was compared.
    """
    return _TEXT.format(title=title, name=network.name, upper=network.name.upper(), lines="\n".join(lines))
