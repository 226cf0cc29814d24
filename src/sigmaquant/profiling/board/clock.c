/* Defaults of the functions in bench.h. On a board give the clock: -DBENCH_HZ=120000000. */
#if !defined(__ARM_ARCH_PROFILE)
#define _POSIX_C_SOURCE 199309L
#endif

#include "bench.h"

int putchar(int character); /* of the C library, whose headers a bare toolchain may lack */

BENCH_WEAK void sq_putchar(char character)
{
    (void)putchar(character);
}

#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'

#ifndef BENCH_HZ
#error "say at how many Hz the processor runs, such as -DBENCH_HZ=120000000"
#endif

BENCH_WEAK uint32_t sq_cycles_per_second(void)
{
    return (uint32_t)(BENCH_HZ);
}

#define REGISTER(address) (*(volatile uint32_t *)(address))

#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)

/* SysTick counts 24 bits down, and its interrupt counts how often. Where a project uses SysTick
 * already, replace sq_cycles_start and sq_cycles, and define BENCH_NO_SYSTICK. */
#define SYSTICK_CONTROL REGISTER(0xE000E010u)
#define SYSTICK_RELOAD REGISTER(0xE000E014u)
#define SYSTICK_VALUE REGISTER(0xE000E018u)
#define SYSTICK_ON 7u /* by the processor's clock, with interrupts */
#define SYSTICK_SPAN 0x1000000u

#ifndef BENCH_NO_SYSTICK

static volatile uint32_t spans;

void SysTick_Handler(void);

void SysTick_Handler(void)
{
    spans++;
}

BENCH_WEAK void sq_cycles_start(void)
{
    SYSTICK_RELOAD = SYSTICK_SPAN - 1u;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = SYSTICK_ON;
}

BENCH_WEAK uint32_t sq_cycles(void)
{
    uint32_t before, value;
    do { /* again where the interrupt came between */
        before = spans;
        value = SYSTICK_VALUE;
    } while (before != spans);
    return before * SYSTICK_SPAN + (SYSTICK_SPAN - 1u - value);
}

#endif

#else

/* The cycle counter of the debug unit, Armv7-M and Armv8-M Mainline. */
#define DEBUG_CONTROL REGISTER(0xE000EDFCu)
#define DEBUG_TRACE (1u << 24)
#define DWT_CONTROL REGISTER(0xE0001000u)
#define DWT_CYCLES REGISTER(0xE0001004u)
#define DWT_LOCK REGISTER(0xE0001FB0u)
#define DWT_UNLOCK 0xC5ACCE55u /* the M7 asks for it */

BENCH_WEAK void sq_cycles_start(void)
{
    DEBUG_CONTROL |= DEBUG_TRACE;
    DWT_LOCK = DWT_UNLOCK;
    DWT_CYCLES = 0;
    DWT_CONTROL |= 1u;
}

BENCH_WEAK uint32_t sq_cycles(void)
{
    return DWT_CYCLES;
}

#endif

#else

#include <time.h>

/* Elsewhere a cycle is a nanosecond. */
BENCH_WEAK void sq_cycles_start(void)
{
}

BENCH_WEAK uint32_t sq_cycles(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000000000u + (uint32_t)now.tv_nsec;
}

BENCH_WEAK uint32_t sq_cycles_per_second(void)
{
    return 1000000000u;
}

#endif
