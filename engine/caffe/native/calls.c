/* Runs several convolutions, each of which reads what those before it have written. */
#include <stdint.h>

#include "vectors.h"

/* Run calls one after the other; return how many ran before one whose results cannot be used. */
int64_t caffe_native_run_calls(const struct call *calls, int64_t count, const struct team *team)
{
    for (int64_t i = 0; i < count; i++)
        if (!calls[i].run(calls[i].jobs, calls[i].count, team)) return i;
    return count;
}
