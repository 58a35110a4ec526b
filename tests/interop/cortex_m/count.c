/* Counts the instructions of each step: with `-icount shift=0` an instruction of the emulated board takes 1 ns, and
   SysTick counts down once in 40 of them (25 MHz). The linker puts this around net_step: -Wl,--wrap=net_step. */
#include "net.h"
#include <stdio.h>
#include <stdlib.h>

#define CONTROL (*(volatile uint32_t *)0xE000E010)
#define RELOAD (*(volatile uint32_t *)0xE000E014)
#define VALUE (*(volatile uint32_t *)0xE000E018)

static uint64_t total;
static uint32_t most, steps;

static void report(void) {
    printf("instructions a step: %lu in the mean, %lu at most\n", (unsigned long)(40 * total / steps),
           (unsigned long)(40 * most));
}

uint32_t __real_net_step(net_state *s, const net_event *events, uint32_t n, float *output);

uint32_t __wrap_net_step(net_state *s, const net_event *events, uint32_t n, float *output) {
    if (steps++ == 0) atexit(report);
    RELOAD = 0xFFFFFF;
    CONTROL = 5; /* on, from the processor's clock */
    VALUE = 0;
    const uint32_t begin = VALUE;
    const uint32_t outside = __real_net_step(s, events, n, output);
    const uint32_t ticks = (begin - VALUE) & 0xFFFFFF;
    total += ticks;
    most = ticks > most ? ticks : most;
    return outside;
}
