/* Local response normalization across channels of float32 maps with channels last, with the exponent
 * 3/4 of all published nets: y = x / (k + a * sum of squares over the channels around)^(3/4).
 */
#include <stdint.h>

#include "vectors.h"

/* What a job computes: the positions from `first` to `end` - 1 of maps of N x H x W x C. The sum is over
 * `reach` channels on either side, PANEL at most; channels outside of the map are zeros. The scratch
 * memory has `channels` + 2 * PANEL values. */
struct lrn {
    int64_t taken;
    const float *x;
    float *y;
    int64_t channels, first, end, reach;
    float a, k;
};

INLINE void normalize(const struct lrn *j, int64_t reach, float *restrict scratch)
{
    const int64_t n = j->channels;
    float *restrict squares = scratch + PANEL;
    for (int64_t c = 0; c < PANEL; c++) scratch[c] = squares[n + c] = 0;
    for (int64_t i = j->first; i < j->end; i++) {
        const float *restrict x = j->x + i * n;
        float *restrict y = j->y + i * n;
        INDEPENDENT for (int64_t c = 0; c < n; c++) squares[c] = x[c] * x[c];
        INDEPENDENT for (int64_t c = 0; c < n; c++) {
            float sum = squares[c];
            UNROLL for (int64_t d = 1; d <= reach; d++) sum += squares[c - d] + squares[c + d];
            float root = __builtin_sqrtf(j->k + j->a * sum);
            y[c] = x[c] / (root * __builtin_sqrtf(root));
        }
    }
}

INLINE void run_job(const struct lrn *j, int rows, float *scratch)
{
    (void)rows;
    if (j->reach == 2) normalize(j, 2, scratch);
    else normalize(j, j->reach, scratch);
}

DEFINE_JOBS_OF(lrn)
DEFINE_CALL(lrn, lrn)
