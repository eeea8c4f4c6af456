/* Gradients of the weights of convolutions by Winograd's algorithm, with channels last.
 *
 * The transpose of the algorithm in winograd.c, with the same pieces of kernels: the inputs of a tile
 * and the gradients of its outputs are written in the basis with 36 coordinates; for each coordinate,
 * their products are summed over all tiles; and the sums are changed back to the weights of a piece.
 * A job computes the gradients of some channels and some outputs, from all tiles, so that neither the
 * threads nor their number change the order of a sum.
 *
 * The sums of all weights take much memory. So if all tiles fit one block, a job finishes the sums of
 * one group of outputs and one panel of channels after the other.
 */
#include <stdint.h>

#include "vectors.h"
#include "basis.h"

/* What a job computes of the gradient of w, K x C x kernel x kernel. Maps are N x H x W x values in
 * memory: x that of the convolution, y the gradient of its result, float32 or, if `low`, bfloat16,
 * x_step and y_step values from position to position. All are those of one group. The channels and
 * outputs of the job are multiples of PANEL. */
struct gradient {
    int64_t taken;
    const void *x;
    float *w;
    const void *y;
    int64_t images, height, width, channels, x_step, y_height, y_width, y_step, kernel, top, left;
    int64_t first_channel, end_channel, first_output, end_output;
    int64_t block, group; /* tiles and outputs whose coordinates are in memory at a time */
    int32_t low, finite;  /* finite: set to whether the results have neither NaN nor infinity */
};

/* The coordinates of a map's tiles: between those of a tile, and of a point, in values. A vector more
 * than the values of a tile keeps tiles apart in the cache. */
INLINE int64_t tile_step(int64_t values) { return values + PANEL; }
INLINE int64_t plane_step(int64_t values, int64_t block) { return tile_step(values) * block; }

/* The values of a job's scratch memory: coordinates of inputs and of gradients, and sums. sum_channels:
 * those whose sums are in memory at a time. */
int64_t caffe_native_gradient_scratch(int64_t channels, int64_t kernel, int64_t block,
                                      int64_t group, int64_t sum_channels)
{
    int64_t pieces = pieces_of(kernel);
    return POINTS * (pieces * plane_step(channels, block) + plane_step(group, block) +
                     pieces * sum_channels * group);
}

/* The gradients of three or four weights of an axis from six coordinates. */
INLINE void weight_basis(int taps, vector *o, int64_t step, const vector *m)
{
    vector sum = m[1] + m[2], sum2 = m[3] + m[4];
    vector difference = m[1] - m[2], difference2 = m[3] - m[4];
    o[0] = 2 * m[0] + 0.25f * sum + sum2;
    o[step] = 0.353553391f * difference + 0.707106781f * difference2;
    o[2 * step] = 0.5f * (sum + sum2);
    if (taps == 3) o[2 * step] += 2 * m[5];
    else o[3 * step] = 0.707106781f * difference + 0.353553391f * difference2 + 2 * m[5];
}

/* Part of a map that a job reads: `count` values of each position, from number `first` on. */
struct source {
    const void *map;
    int64_t height, width, step, first, count;
};

/* Write the coordinates of a square of side * side positions, `plane` apart. top, left: its first
 * position, which may lie beyond the map; there the map continues with zeros. */
INLINE void write_source(const struct source *s, int side, int low, int64_t image, int64_t top,
                         int64_t left, int64_t plane, float *out)
{
    int64_t row_step = s->width * s->step;
    int64_t start = (image * s->height + top) * row_step + left * s->step + s->first;
    int inside = top >= 0 && left >= 0 && top + side <= s->height && left + side <= s->width;
    for (int64_t c = 0; c < s->count; c += PANEL) {
        vector half[AXIS_POINTS][AXIS_POINTS];
        UNROLL for (int q = 0; q < side; q++) {
            vector d[AXIS_POINTS];
            UNROLL for (int p = 0; p < side; p++) {
                int64_t row = top + p, column = left + q;
                d[p] = (vector){0};
                if (inside || (row >= 0 && column >= 0 && row < s->height && column < s->width))
                    d[p] = load(s->map, start + p * row_step + q * s->step + c, low);
            }
            if (side == 6) tile_basis(&half[0][q], AXIS_POINTS, d);
            else difference_basis(side, &half[0][q], AXIS_POINTS, d);
        }
        UNROLL for (int p = 0; p < AXIS_POINTS; p++) {
            vector o[AXIS_POINTS];
            if (side == 6) tile_basis(o, 1, half[p]);
            else difference_basis(side, o, 1, half[p]);
            UNROLL for (int q = 0; q < AXIS_POINTS; q++)
                *(vector *)(out + (AXIS_POINTS * p + q) * plane + c) = o[q];
        }
    }
}

/* Write the coordinates of squares of n tiles from number `first` on. side: of a square. distance:
 * that of tiles. top, left: where the square of a tile begins, from the tile's own begin. */
INLINE void write_squares(const struct gradient *j, const struct source *s, int side,
                          int64_t distance, int64_t top, int64_t left, int64_t first, int64_t n,
                          float *out)
{
    int64_t down = (j->y_height + distance - 1) / distance;
    int64_t across = (j->y_width + distance - 1) / distance;
    int64_t step = tile_step(s->count), plane = plane_step(s->count, n);
    for (int64_t i = 0; i < n; i++, out += step) {
        int64_t row = (first + i) / across, image = row / down;
        int64_t y = distance * (row % down) + top, x = distance * ((first + i) % across) + left;
        if (j->low) write_source(s, side, 1, image, y, x, plane, out);
        else write_source(s, side, 0, image, y, x, plane, out);
    }
}

/* Write the coordinates of the inputs of n tiles for all pieces, one piece after the other. */
INLINE void write_inputs(const struct gradient *j, int taps, int64_t first, int64_t n, float *out)
{
    int64_t count = j->end_channel - j->first_channel;
    struct source s = {j->x, j->height, j->width, j->x_step, j->first_channel, count};
    for (int64_t piece = 0; piece < pieces_of(j->kernel); piece++) {
        int64_t top = piece / 2 * taps - j->top, left = piece % 2 * taps - j->left;
        write_squares(j, &s, 6, SIDE_OF(taps), top, left, first, n, out);
        out += POINTS * plane_step(count, n);
    }
}

/* Write the coordinates of the gradients of some outputs of n tiles. */
INLINE void write_differences(const struct gradient *j, int taps, int64_t first_output,
                              int64_t count, int64_t first, int64_t n, float *out)
{
    struct source s = {j->y, j->y_height, j->y_width, j->y_step, first_output, count};
    write_squares(j, &s, SIDE_OF(taps), SIDE_OF(taps), 0, 0, first, n, out);
}

/* Write, or add to, the sums of the products of `rows` outputs and PANEL channels over n tiles. */
INLINE void multiply(int rows, int halves, int64_t n, int adds, const float *a, int64_t a_step,
                     const float *b, int64_t b_step, int64_t o_step, float *o)
{
    vector sum[ROWS];
    UNROLL for (int i = 0; i < rows; i++)
        sum[i] = adds ? *(vector *)(o + i * o_step) : (vector){0};
    add_products(rows, halves, n, a, 1, a_step, b, b_step, sum);
    UNROLL for (int i = 0; i < rows; i++) *(vector *)(o + i * o_step) = sum[i];
}

/* Add the products of n tiles up, of the channels from `start` to `stop` of all: panels of channels x
 * outputs x pieces x points x PANEL. */
INLINE void add_tiles(int rows, int64_t pieces, int64_t n, int adds, const float *x,
                      int64_t channels, int64_t start, int64_t stop, const float *y,
                      int64_t outputs, float *sums)
{
    int64_t x_step = tile_step(channels), y_step = tile_step(outputs);
    int64_t o_step = pieces * POINTS * PANEL;
    for (int64_t point = 0; point < pieces * POINTS; point++)
        for (int64_t c = start; c < stop; c += PANEL) {
            const float *a = y + point % POINTS * plane_step(outputs, n);
            const float *b = x + point * plane_step(channels, n) + c;
            float *o = sums + (c - start) / PANEL * outputs * o_step + point * PANEL;
            for (int64_t i = 0, end; i < outputs; i = end) {
                end = next_rows(i, outputs, rows);
#define CASE(N) \
    multiply(N, rows < ROWS, n, adds, a + i, y_step, b, x_step, o_step, o + i * o_step)
                EACH_NUMBER_OF_ROWS(end - i, rows, CASE)
#undef CASE
            }
        }
}

/* Write the gradients of the weights of an output and PANEL channels from their sums; return zeros, or
 * NaN where a result is not finite. */
INLINE vector write_weights(int taps, int64_t kernel, const float *sums, float *out)
{
    vector weights[KERNEL * KERNEL], zeros = {0};
    const int64_t size = kernel * kernel;
    for (int64_t piece = 0; piece < pieces_of(kernel); piece++, sums += POINTS * PANEL) {
        vector half[4][AXIS_POINTS];
        int64_t top = piece / 2 * taps, left = piece % 2 * taps;
        UNROLL for (int q = 0; q < AXIS_POINTS; q++) {
            vector m[AXIS_POINTS];
            UNROLL for (int p = 0; p < AXIS_POINTS; p++)
                m[p] = *(const vector *)(sums + (AXIS_POINTS * p + q) * PANEL);
            weight_basis(taps, &half[0][q], AXIS_POINTS, m);
        }
        UNROLL for (int p = 0; p < taps; p++) {
            vector o[4];
            weight_basis(taps, o, 1, half[p]);
            UNROLL for (int q = 0; q < taps; q++) {
                zeros += o[q] * 0;
                if (top + p < kernel && left + q < kernel)
                    weights[(top + p) * kernel + left + q] = o[q];
            }
        }
    }
    for (int64_t c = 0; c < PANEL; c++)
        for (int64_t i = 0; i < size; i++) out[c * size + i] = weights[i][c];
    return zeros;
}

/* Write the gradients of the weights of some outputs and of the channels from `start` to `stop`. */
INLINE vector write_panels(const struct gradient *j, int taps, int64_t first, int64_t outputs,
                           int64_t start, int64_t stop, const float *sums)
{
    int64_t pieces = pieces_of(j->kernel), size = j->kernel * j->kernel;
    vector zeros = {0};
    for (int64_t k = 0; k < outputs; k++)
        for (int64_t c = start; c < stop; c += PANEL) {
            int64_t from = ((c - start) / PANEL * outputs + k) * pieces * POINTS * PANEL;
            int64_t to = (first + k) * j->channels + j->first_channel + c;
            zeros += write_weights(taps, j->kernel, sums + from, j->w + to * size);
        }
    return zeros;
}

INLINE void run_tiles(struct gradient *j, int taps, int rows, float *scratch)
{
    const int64_t side = SIDE_OF(taps), pieces = pieces_of(j->kernel);
    int64_t channels = j->end_channel - j->first_channel;
    int64_t tiles = j->images * ((j->y_height + side - 1) / side) * ((j->y_width + side - 1) / side);
    float *x = scratch, *y = x + pieces * POINTS * plane_step(channels, j->block);
    float *sums = y + POINTS * plane_step(j->group, j->block);
    vector zeros = {0};
    if (tiles <= j->block) write_inputs(j, taps, 0, tiles, x);
    for (int64_t k = j->first_output, end; k < j->end_output; k = end) {
        end = k + j->group < j->end_output ? k + j->group : j->end_output;
        if (tiles <= j->block) {
            write_differences(j, taps, k, end - k, 0, tiles, y);
            for (int64_t c = 0; c < channels; c += PANEL) {
                add_tiles(rows, pieces, tiles, 0, x, channels, c, c + PANEL, y, end - k, sums);
                zeros += write_panels(j, taps, k, end - k, c, c + PANEL, sums);
            }
            continue;
        }
        for (int64_t start = 0; start < tiles; start += j->block) {
            int64_t n = tiles - start < j->block ? tiles - start : j->block;
            write_inputs(j, taps, start, n, x);
            write_differences(j, taps, k, end - k, start, n, y);
            add_tiles(rows, pieces, n, start > 0, x, channels, 0, channels, y, end - k, sums);
        }
        zeros += write_panels(j, taps, k, end - k, 0, channels, sums);
    }
    j->finite = are_zeros(zeros);
}

INLINE void run_job(struct gradient *j, int rows, float *scratch)
{
    if (taps_of(j->kernel) == 3) run_tiles(j, 3, rows, scratch);
    else run_tiles(j, 4, rows, scratch);
}

DEFINE_JOBS_OF(gradient)
DEFINE_FINITE_CALL(gradient, gradient)
