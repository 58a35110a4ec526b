/* Starts a program on the emulated board: memory, floating point, semihosting, then main without words. */
#include <stdint.h>

extern uint32_t __stack, __data_start__, __data_end__, __etext, __bss_start__, __bss_end__;
int main(int count, char **words);
void exit(int status);
void initialise_monitor_handles(void);

void _init(void) {}
void _fini(void) {}

void Reset_Handler(void) {
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: full access to the floating-point unit */
    __asm volatile("dsb\n isb");
    uint32_t *from = &__etext;
    for (uint32_t *to = &__data_start__; to < &__data_end__;) *to++ = *from++;
    for (uint32_t *to = &__bss_start__; to < &__bss_end__;) *to++ = 0;
    initialise_monitor_handles();
    exit(main(0, 0));
}

__attribute__((section(".vectors"), used)) void *const vectors[] = {&__stack, (void *)Reset_Handler};
