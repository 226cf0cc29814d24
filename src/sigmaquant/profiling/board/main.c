/* For a board that has no main of its own yet: else call bench() once the clocks are set. */
#include "bench.h"

int main(void)
{
    bench();
#ifdef BENCH_FOREVER /* so that a meter can tell the power at work: energy_uj is mW times latency_ms */
    for (;;)
        bench_run();
#else
    return 0;
#endif
}
