/* Transposed convolution along one axis of float32 planes, each with its channel's kernel. */
#include <stdint.h>

#include "vectors.h"

/* What a job computes of y[p, o] = sum over i of x[p, i] * w[p % channels, o + pad - stride * i]: the
 * rows of y, counted along all planes, from `first` to `end` - 1. x is planes x inputs x width, y
 * planes x outputs x width, and w channels x kernel. */
struct spread {
    int64_t taken;
    const float *x, *w;
    float *y;
    int64_t channels, inputs, outputs, width, kernel, stride, pad, first, end;
};

INLINE void run_job(const struct spread *j, int rows, float *scratch)
{
    (void)rows, (void)scratch;
    for (int64_t row = j->first; row < j->end; row++) {
        int64_t plane = row / j->outputs, at = row % j->outputs + j->pad, n = j->width;
        const float *x = j->x + plane * j->inputs * n, *w = j->w + plane % j->channels * j->kernel;
        float *y = j->y + row * n;
        int64_t i = at < j->kernel ? 0 : (at - j->kernel) / j->stride + 1;
        int64_t last = at / j->stride < j->inputs ? at / j->stride : j->inputs - 1;
        if (i > last) {
            for (int64_t c = 0; c < n; c++) y[c] = 0;
            continue;
        }
        const float *a = x + i * n;
        float p = w[at - j->stride * i];
        if (i == last) {
            INDEPENDENT for (int64_t c = 0; c < n; c++) y[c] = p * a[c];
            continue;
        }
        /* Most rows are sums of two. */
        float q = w[at - j->stride * (i + 1)];
        INDEPENDENT for (int64_t c = 0; c < n; c++) y[c] = p * a[c] + q * a[n + c];
        for (i += 2; i <= last; i++) {
            a = x + i * n, p = w[at - j->stride * i];
            INDEPENDENT for (int64_t c = 0; c < n; c++) y[c] += p * a[c];
        }
    }
}

DEFINE_JOBS_OF(spread)
DEFINE_CALL(spread, spread)
