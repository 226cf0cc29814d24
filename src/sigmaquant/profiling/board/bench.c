/* Times each step of the network and prints a row for the whole and for each layer. */
#include "bench.h"

#include <string.h>

#include "bench_names.h"
#include "check_vectors.h"

#ifndef BENCH_RUNS
#define BENCH_RUNS 10 /* after one that is not counted */
#endif

static float inputs[CHECK_INPUT_FLOATS], outputs[CHECK_OUTPUT_FLOATS];
static uint64_t step_cycles[BENCH_STEPS];
static uint32_t begin;

void bench_step_done(uint32_t step)
{
    step_cycles[step] += (uint32_t)(sq_cycles() - begin);
    begin = sq_cycles(); /* what stands above is not the network's */
}

void bench_run(void)
{
    begin = sq_cycles();
    CHECK_RUN(inputs, outputs);
}

static void put(const char *text)
{
    while (*text != '\0')
        sq_putchar(*text++);
}

/* A number with at least so many digits. */
static void put_number(uint64_t number, int digits)
{
    char text[20];
    int at = (int)sizeof text;
    do {
        text[--at] = (char)('0' + (int)(number % 10));
        number /= 10;
        digits--;
    } while (number > 0 || digits > 0);
    while (at < (int)sizeof text)
        sq_putchar(text[at++]);
}

/* A row of the table; an empty last column is for the energy, which only a meter knows. */
static void put_row(const char *layer, uint64_t cycles)
{
    const uint64_t cycles_per_ms = (uint64_t)(sq_cycles_per_second() / 1000) * BENCH_RUNS;
    put(BENCH_NETWORK ",");
    put(layer);
    put("," BENCH_PLAN ",");
    put_number(cycles / cycles_per_ms, 1);
    put(".");
    put_number(cycles % cycles_per_ms * 1000000 / cycles_per_ms, 6);
    put(",\n");
}

/* How many outputs are not what the reference computed; by more than a tolerance, if there is one. */
static uint32_t differing_outputs(void)
{
    uint32_t differing = 0;
    for (int i = 0; i < CHECK_OUTPUT_FLOATS; i++) {
        uint32_t bits;
        float wanted;
        memcpy(&bits, &outputs[i], sizeof bits);
        memcpy(&wanted, &check_outputs[0][i], sizeof wanted);
        const float difference = outputs[i] - wanted;
        if (bits != check_outputs[0][i] &&
            !(CHECK_TOLERANCE > 0.0f && difference <= CHECK_TOLERANCE &&
              difference >= -CHECK_TOLERANCE))
            differing++;
    }
    return differing;
}

static void print_remarks(void)
{
    put("# ");
    put_number(sq_cycles_per_second(), 1);
    put(" cycles a second, mean of ");
    put_number(BENCH_RUNS, 1);
    put(" runs; ");
    put_number(differing_outputs(), 1);
    put(" of ");
    put_number(CHECK_OUTPUT_FLOATS, 1);
    put(" outputs differ from the reference\n");
}

static void print_rows(void)
{
    uint64_t total = 0, layer_cycles[BENCH_LAYERS + 1] = {0};
    for (int step = 0; step < BENCH_STEPS; step++) {
        layer_cycles[bench_layer_of[step]] += step_cycles[step];
        total += step_cycles[step];
    }
    put("network,layer,plan,latency_ms,energy_uj\n");
    put_row("", total);
    for (int layer = 0; layer < BENCH_LAYERS; layer++)
        put_row(bench_layers[layer], layer_cycles[layer]);
}

void bench(void)
{
    memcpy(inputs, check_inputs[0], sizeof inputs);
    sq_cycles_start();
    bench_run();
    memset(step_cycles, 0, sizeof step_cycles);
    for (int run = 0; run < BENCH_RUNS; run++)
        bench_run();
    print_remarks();
    print_rows();
}
