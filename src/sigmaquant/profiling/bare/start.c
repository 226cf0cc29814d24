/* Start-up code of a bare Cortex-M, and the two functions that compilers call by themselves. */
#include <stdint.h>
#include <string.h>

/* Keeps the loops below from becoming calls of the functions that they are in. */
#define KEEP_LOOP() __asm__ volatile("" : : : "memory")

/* Co-processor access control (Armv7-M, DDI 0403E, B3.2.20): full access to the FPU. */
#define CPACR (*(volatile uint32_t *)0xE000ED88u)

extern uint8_t data_load[], data_begin[], data_end[], zero_begin[], zero_end[], stack_top[];

int main(void);
void sq_reset(void);
void sq_pause(int32_t reason);

__attribute__((section(".vectors"), used)) static void *const vectors[] = {stack_top, sq_reset};

void *(memcpy)(void *restrict target, const void *restrict source, size_t count)
{
    uint8_t *to = target;
    const uint8_t *from = source;
    for (; count > 0; count--) {
        *to++ = *from++;
        KEEP_LOOP();
    }
    return target;
}

void *(memset)(void *target, int value, size_t count)
{
    uint8_t *to = target;
    for (; count > 0; count--) {
        *to++ = (uint8_t)value;
        KEEP_LOOP();
    }
    return target;
}

/* Where the emulator stops; it reads the argument and returns for us. */
__attribute__((noinline)) void sq_pause(int32_t reason)
{
    __asm__ volatile("" : : "r"(reason) : "memory");
}

void sq_reset(void)
{
    CPACR |= 0xFu << 20;
    memcpy(data_begin, data_load, (size_t)(data_end - data_begin));
    memset(zero_begin, 0, (size_t)(zero_end - zero_begin));
    main();
    for (;;)
        KEEP_LOOP();
}
