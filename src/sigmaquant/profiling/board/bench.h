/* What the benchmark needs of a board. Each of these has a default in clock.c that is used where no
 * other file defines the function. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

#if defined(__ICCARM__)
#define BENCH_WEAK __weak
#else
#define BENCH_WEAK __attribute__((weak))
#endif

/* Called once, before the first sq_cycles. */
void sq_cycles_start(void);

/* Processor cycles since some moment; may begin again after 2^32. */
uint32_t sq_cycles(void);

/* Cycles a second. */
uint32_t sq_cycles_per_second(void);

/* Sends one character of the result to the user. */
void sq_putchar(char character);

/* Runs the network and prints what `sigmaquant devices fit` reads. */
void bench(void);

/* Runs the network once. */
void bench_run(void);

/* Called by model.c after each of its steps. */
void bench_step_done(uint32_t step);
#define MODEL_STEP_DONE(step, result, bytes) ((void)(result), bench_step_done(step))

#endif
