/* Gradients of the weights of 3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3), with channels last.
 *
 * The transpose of the algorithm in winograd.py: the inputs of a tile and the gradients of its
 * outputs are written in the basis with 36 coordinates; for each coordinate, their products are
 * summed over all tiles; and the sums are changed back to the nine weights. A job computes the
 * gradients of some channels and some outputs, from all tiles, so that neither the threads nor their
 * number change the order of a sum.
 */
#include <stdint.h>

#include "vectors.h"
#include "basis.h"

#define POINTS (AXIS_POINTS * AXIS_POINTS)

/* What a job computes of the gradient of w, K x C x 3 x 3. Maps are N x H x W x channels in memory:
 * x that of the convolution, y the gradient of its result, float32 or, if `low`, bfloat16. The
 * channels and outputs of the job are multiples of PANEL. */
struct gradient {
    int64_t taken;
    const void *x;
    float *w;
    const void *y;
    int64_t images, height, width, channels, outputs, y_height, y_width, top, left;
    int64_t first_channel, end_channel, first_output, end_output;
    int64_t block; /* tiles whose coordinates are in memory at a time */
    int64_t low;
};

/* The coordinates of a map's tiles: between those of a tile, and of a point, in values. A vector more
 * than the values of a tile keeps tiles apart in the cache. */
INLINE int64_t tile_step(int64_t values) { return values + PANEL; }
INLINE int64_t plane_step(int64_t values, int64_t block) { return tile_step(values) * block; }

/* The values of a job's scratch memory: coordinates of inputs and of gradients, and sums. */
int64_t caffe_native_gradient_scratch(int64_t channels, int64_t outputs, int64_t block)
{
    return POINTS * (plane_step(channels, block) + plane_step(outputs, block) + channels * outputs);
}

/* The six coordinates of the gradients of four outputs: the transpose of output_basis. */
INLINE void difference_basis(vector *o, int64_t step, const vector *d)
{
    vector even = d[0] + 2 * d[2], odd = 1.41421356f * d[1] + 2.82842712f * d[3];
    vector even2 = d[0] + 0.5f * d[2], odd2 = 0.707106781f * d[1] + 0.353553391f * d[3];
    o[0] = d[0];
    o[step] = even + odd;
    o[2 * step] = even - odd;
    o[3 * step] = even2 + odd2;
    o[4 * step] = even2 - odd2;
    o[5 * step] = d[3];
}

/* The gradients of three weights of an axis from six coordinates. */
INLINE void weight_basis(vector *o, int64_t step, const vector *m)
{
    vector sum = m[1] + m[2], sum2 = m[3] + m[4];
    o[0] = 2 * m[0] + 0.25f * sum + sum2;
    o[step] = 0.353553391f * (m[1] - m[2]) + 0.707106781f * (m[3] - m[4]);
    o[2 * step] = 0.5f * (sum + sum2) + 2 * m[5];
}

/* Part of a map that a job reads. */
struct source {
    const void *map;
    int64_t height, width, channels, first, count;
};

/* Write the coordinates of a square of side * side positions, `plane` apart. top, left: its first
 * position, which may lie beyond the map; there the map continues with zeros. */
INLINE void write_square(const struct source *s, int side, int low, int64_t image, int64_t top,
                         int64_t left, int64_t plane, float *out)
{
    int64_t row_step = s->width * s->channels;
    int64_t start = (image * s->height + top) * row_step + left * s->channels + s->first;
    int inside = top >= 0 && left >= 0 && top + side <= s->height && left + side <= s->width;
    for (int64_t c = 0; c < s->count; c += PANEL) {
        vector half[AXIS_POINTS][AXIS_POINTS];
        UNROLL for (int q = 0; q < side; q++) {
            vector d[AXIS_POINTS];
            UNROLL for (int p = 0; p < side; p++) {
                int64_t row = top + p, column = left + q;
                d[p] = (vector){0};
                if (inside || (row >= 0 && column >= 0 && row < s->height && column < s->width))
                    d[p] = load(s->map, start + p * row_step + q * s->channels + c, low);
            }
            if (side == 6) tile_basis(&half[0][q], AXIS_POINTS, d);
            else difference_basis(&half[0][q], AXIS_POINTS, d);
        }
        UNROLL for (int p = 0; p < AXIS_POINTS; p++) {
            vector o[AXIS_POINTS];
            if (side == 6) tile_basis(o, 1, half[p]);
            else difference_basis(o, 1, half[p]);
            UNROLL for (int q = 0; q < AXIS_POINTS; q++)
                *(vector *)(out + (AXIS_POINTS * p + q) * plane + c) = o[q];
        }
    }
}

/* Write the coordinates of the inputs, or of the gradients, of n tiles from number `first` on. */
INLINE void write_tiles(const struct gradient *j, const struct source *s, int side, int64_t first,
                        int64_t n, float *out)
{
    int64_t down = (j->y_height + 3) / 4, across = (j->y_width + 3) / 4;
    int64_t step = tile_step(s->count), plane = plane_step(s->count, n);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = (first + i) / across, image = row / down;
        int64_t top = 4 * (row % down), left = 4 * ((first + i) % across);
        if (side == 6) {
            top -= j->top;
            left -= j->left;
        }
        if (j->low) write_square(s, side, 1, image, top, left, plane, out + i * step);
        else write_square(s, side, 0, image, top, left, plane, out + i * step);
    }
}

/* Write, or add to, the sums of the products of `rows` outputs and PANEL channels over n tiles. */
INLINE void multiply(int rows, int halves, int64_t n, int adds, const float *a, int64_t a_step,
                     const float *b, int64_t b_step, float *o)
{
    vector sum[ROWS];
    UNROLL for (int i = 0; i < rows; i++)
        sum[i] = adds ? *(vector *)(o + i * POINTS * PANEL) : (vector){0};
    add_products(rows, halves, n, a, 1, a_step, b, b_step, sum);
    UNROLL for (int i = 0; i < rows; i++) *(vector *)(o + i * POINTS * PANEL) = sum[i];
}

/* Add the products of n tiles up: panels of channels x outputs x points x PANEL. */
INLINE void add_tiles(int rows, int64_t n, int adds, const float *x, int64_t channels,
                      const float *y, int64_t outputs, float *sums)
{
    int64_t x_step = tile_step(channels), y_step = tile_step(outputs);
    for (int64_t point = 0; point < POINTS; point++)
        for (int64_t c = 0; c < channels; c += PANEL) {
            const float *a = y + point * plane_step(outputs, n);
            const float *b = x + point * plane_step(channels, n) + c;
            float *o = sums + (c / PANEL * outputs * POINTS + point) * PANEL;
            for (int64_t i = 0, end; i < outputs; i = end) {
                end = next_rows(i, outputs, rows);
#define CASE(N) multiply(N, rows < ROWS, n, adds, a + i, y_step, b, x_step, o + i * POINTS * PANEL)
                EACH_NUMBER_OF_ROWS(end - i, rows, CASE)
#undef CASE
            }
        }
}

/* Write the gradients of the weights of an output and PANEL channels from their sums. */
INLINE void write_weights(const float *sums, float *out)
{
    vector half[3][AXIS_POINTS];
    UNROLL for (int q = 0; q < AXIS_POINTS; q++) {
        vector m[AXIS_POINTS];
        UNROLL for (int p = 0; p < AXIS_POINTS; p++)
            m[p] = *(const vector *)(sums + (AXIS_POINTS * p + q) * PANEL);
        weight_basis(&half[0][q], AXIS_POINTS, m);
    }
    UNROLL for (int p = 0; p < 3; p++) {
        vector o[3];
        weight_basis(o, 1, half[p]);
        for (int c = 0; c < PANEL; c++)
            UNROLL for (int q = 0; q < 3; q++) out[9 * c + 3 * p + q] = o[q][c];
    }
}

INLINE void run_job(struct gradient *j, int rows, float *scratch)
{
    int64_t channels = j->end_channel - j->first_channel;
    int64_t outputs = j->end_output - j->first_output;
    struct source inputs = {j->x, j->height, j->width, j->channels, j->first_channel, channels};
    struct source results = {j->y, j->y_height, j->y_width, j->outputs, j->first_output, outputs};
    int64_t tiles = j->images * ((j->y_height + 3) / 4) * ((j->y_width + 3) / 4);
    float *x = scratch, *y = x + POINTS * plane_step(channels, j->block);
    float *sums = y + POINTS * plane_step(outputs, j->block);
    for (int64_t start = 0; start < tiles; start += j->block) {
        int64_t n = tiles - start < j->block ? tiles - start : j->block;
        write_tiles(j, &inputs, 6, start, n, x);
        write_tiles(j, &results, 4, start, n, y);
        add_tiles(rows, n, start > 0, x, channels, y, outputs, sums);
    }
    for (int64_t k = 0; k < outputs; k++)
        for (int64_t c = 0; c < channels; c += PANEL)
            write_weights(sums + (c / PANEL * outputs + k) * POINTS * PANEL,
                          j->w + ((j->first_output + k) * j->channels + j->first_channel + c) * 9);
}

DEFINE_JOBS_OF(gradient)

/* Run jobs on the threads of a team. */
int caffe_native_gradient(struct gradient *first, int64_t count, const struct team *team)
{
    run_jobs_of(first, count, team);
    return 1;
}
