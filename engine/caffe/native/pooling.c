/* Maxima, and means, of windows of float32 or bfloat16 maps with channels last. As in Caffe, a maximum starts as
 * the least finite value and a larger value replaces it, which NaN is not. A mean counts the padding,
 * but not what lies beyond.
 */
#include <float.h>
#include <stdint.h>

#include "vectors.h"

/* The least value of bfloat16. */
#define LOW_MIN -0x1.fep127f

/* What a job computes: the rows of y from first_row on, which are counted through all images. Maps
 * are N x H x W x C in memory, C a multiple of PANEL, bfloat16 if `low`, else float32. A window has
 * high x wide positions, moves by down and across, and begins top above and left of the map; its
 * positions outside of the map do not count, except in means: maxima if `means` is 0, else means
 * that count the padding if it is 1, and that do not if it is 2. */
struct pooling {
    int64_t taken;
    const void *x;
    void *y;
    int64_t height, width, channels, y_height, y_width, high, wide, down, across, top, left;
    int64_t first_row, end_row, low, means;
};

/* Compilers know this loop as one instruction. */
INLINE vector larger(vector a, vector b)
{
    for (int i = 0; i < PANEL; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
}

INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE void run_job_on(const struct pooling *j, int low, int means)
{
    for (int64_t row = j->first_row; row < j->end_row; row++) {
        int64_t image = row / j->y_height, start = row % j->y_height * j->down - j->top;
        int64_t first = at_least(start, 0), end = at_most(start + j->high, j->height);
        for (int64_t column = 0; column < j->y_width; column++) {
            int64_t begin = column * j->across - j->left;
            int64_t left = at_least(begin, 0), right = at_most(begin + j->wide, j->width);
            int64_t area = (end - first) * (right - left);
            if (j->means == 1)
                area = (at_most(start + j->high, j->height + j->top) - start) *
                       (at_most(begin + j->wide, j->width + j->left) - begin);
            for (int64_t c = 0; c < j->channels; c += PANEL) {
                vector most = (vector){0};
                if (!means) most += low ? LOW_MIN : -FLT_MAX;
                for (int64_t p = first; p < end; p++)
                    for (int64_t q = left; q < right; q++) {
                        int64_t at = ((image * j->height + p) * j->width + q) * j->channels + c;
                        if (means) most += load(j->x, at, low);
                        else most = larger(load(j->x, at, low), most);
                    }
                if (means) most /= (float)area;
                store(j->y, (row * j->y_width + column) * j->channels + c, most, low);
            }
        }
    }
}

INLINE void run_job(const struct pooling *j, int rows, float *scratch)
{
    (void)rows, (void)scratch;
    if (j->means) run_job_on(j, (int)j->low, 1);
    else if (j->low) run_job_on(j, 1, 0);
    else run_job_on(j, 0, 0);
}

DEFINE_JOBS_OF(pooling)
DEFINE_CALL(pooling, pooling)
