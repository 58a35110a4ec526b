/* Replays a recording: each step's events through the network, whose outputs must have the bits of the file's.
   The file: the number of steps; for each step the number of its events, the events, and the expected outputs.
   SPDX-License-Identifier: 0BSD: anyone may use this file for any purpose. */
#include "@name@.h"
#include <stdio.h>
#include <string.h>

#define MOST_EVENTS @most_events@

static @name@_state state;
static @name@_event events[MOST_EVENTS];
static float output[@NAME@_OUTPUTS], expected[@NAME@_OUTPUTS];

int main(int count, char **words) {
    const char *path = count > 1 ? words[1] : "recording.bin";
    FILE *file = fopen(path, "rb");
    uint32_t steps = 0, n = 0;
    unsigned long differ = 0, total = 0;
    if (file == NULL || fread(&steps, sizeof steps, 1, file) != 1) {
        printf("%s cannot be read\n", path);
        return 2;
    }
    @name@_reset(&state);
    for (uint32_t t = 0; t < steps; t++) {
        if (fread(&n, sizeof n, 1, file) != 1 || n > MOST_EVENTS || fread(events, sizeof *events, n, file) != n ||
            fread(expected, sizeof expected, 1, file) != 1) {
            printf("%s ends in step %lu\n", path, (unsigned long)t);
            return 2;
        }
        total += n;
        @name@_step(&state, events, n, output);
        for (int k = 0; k < @NAME@_OUTPUTS; k++) {
            if (memcmp(output + k, expected + k, sizeof *output) != 0 && differ++ == 0)
                printf("step %lu, output %d: %.9g, expected %.9g\n", (unsigned long)t, k, (double)output[k],
                       (double)expected[k]);
        }
    }
    fclose(file);
    printf("%lu steps, %lu events: %lu of %lu outputs differ\n", (unsigned long)steps, total, differ,
           (unsigned long)steps * @NAME@_OUTPUTS);
    return differ != 0;
}
