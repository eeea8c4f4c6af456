/* The product of a row of float32 values with each row of a matrix, as InnerProduct has it for one
 * image. The matrix is read once, one line of memory after the other, as fast as memory gives it.
 */
#include <stdint.h>

#include "vectors.h"

/* Values that are fetched ahead, and sums that are added up at the same time. */
#define FETCHED 1024
#define SUMS 4
#define WIDTH (PANEL / 2)

/* What a job computes of y = w x + b: the outputs from first_output on. w is outputs x inputs in
 * memory; b may be missing. */
struct inner {
    int64_t taken;
    const float *x, *w, *b, *other;
    float *y;
    int64_t inputs, first_output, end_output;
};

INLINE float row_product(const float *x, const float *w, int64_t n)
{
    half_vector sum[SUMS] = {{0}};
    int64_t i = 0;
    for (; i + SUMS * WIDTH <= n; i += SUMS * WIDTH) {
        __builtin_prefetch(w + i + FETCHED);
        __builtin_prefetch(w + i + FETCHED + 2 * WIDTH);
        UNROLL for (int s = 0; s < SUMS; s++)
            sum[s] += *(const half_vector *)(x + i + s * WIDTH) *
                      *(const half_vector *)(w + i + s * WIDTH);
    }
    half_vector all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    float result = 0;
    for (int s = 0; s < WIDTH; s++) result += all[s];
    for (; i < n; i++) result += x[i] * w[i];
    return result;
}

INLINE void run_job(struct inner *j, int rows, float *scratch)
{
    (void)rows, (void)scratch;
    for (int64_t k = j->first_output; k < j->end_output; k++)
        j->y[k] = row_product(j->x, j->w + k * j->inputs, j->inputs) + (j->b ? j->b[k] : 0);
}

DEFINE_JOBS_OF(inner)
DEFINE_CALL(inner, inner)
