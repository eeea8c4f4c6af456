/* Gradients of the bottom of convolutions by Winograd's algorithm, with channels last.
 *
 * The transpose of the algorithm in winograd.c, with the same pieces of kernels: the gradients of a
 * tile's outputs are written in the basis with 36 coordinates; for each coordinate, their products
 * with the kernels are summed over the outputs; and the sums are changed back to gradients of the
 * tile's inputs, which are added to those of the other tiles and pieces. The tiles are as many as in
 * the convolution itself, and the kernels are read in their own order.
 *
 * A job computes the gradients of some channels from all tiles, so that neither the threads nor their
 * number change the order of a sum.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"
#include "basis.h"
#include "kernels.h"

/* Outputs whose gradients are in the other basis at a time, and outputs and pieces whose kernels are. */
#define DEEP 256
#define DEPTH 256

/* A tile of the top's gradient: its image, its first row and column, and which of its outputs count,
 * as bits 8 * p + q. */
struct tile { int64_t image, row, column, outputs; };

/* What a job computes of the gradient of x from y, the gradient of the top of its convolution with w.
 * Maps are N x H x W x values in memory: x float32, to which the job adds, y float32 or, if `low_maps`,
 * bfloat16, x_step and y_step values from position to position. w is outputs x channels x kernel x
 * kernel, float32 or, if `low_weights`, bfloat16. All are those of one group. The job computes the
 * channels from first_channel on, whose number is a multiple of PANEL, as is `outputs`. */
struct bottom_gradient {
    int64_t taken;
    float *x;
    const void *w, *y;
    const struct tile *tiles;
    int64_t count, height, width, channels, x_step, outputs, y_height, y_width, y_step;
    int64_t kernel, top, left, first_channel, end_channel;
    int64_t block; /* tiles whose sums are in memory at a time */
    int32_t low_maps, low_weights, finite; /* finite: set to whether all sums are finite */
};

/* Values of memory between tiles, points, and panels of the three tables of a job: the coordinates of
 * DEEP outputs' gradients, the coordinates of kernels, and sums. */
#define TILE_STEP (DEEP + PANEL)
INLINE int64_t y_plane(int64_t block) { return (block | 1) * TILE_STEP; }
INLINE int64_t some_outputs(int64_t kernel) { return DEPTH / pieces_of(kernel); }
INLINE int64_t kernel_plane(int64_t kernel) { return (some_outputs(kernel) + 1) * PANEL; }
INLINE int64_t sum_plane(int64_t block) { return (block | 1) * PANEL; }

/* The values of a job's scratch memory. */
int64_t caffe_native_bottom_scratch(int64_t channels, int64_t kernel, int64_t block)
{
    int64_t pieces = pieces_of(kernel);
    return POINTS * (y_plane(block) + pieces * kernel_plane(kernel) +
                     pieces * channels / PANEL * sum_plane(block));
}

/* Six values of an axis of inputs from six coordinates: the transpose of tile_basis. */
INLINE void input_basis(vector *o, int64_t step, const vector *m)
{
    vector sum = m[1] + m[2], difference = m[1] - m[2];
    vector sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    o[0] = 0.5f * m[0];
    o[step] = 0.942809042f * difference2 - 0.471404521f * difference + 0.5f * m[5];
    o[2 * step] = (float)(4.0 / 3) * sum2 - (float)(1.0 / 3) * sum - 1.25f * m[0];
    o[3 * step] = 0.942809042f * difference - 0.471404521f * difference2 - 1.25f * m[5];
    o[4 * step] = 0.5f * m[0] + (float)(2.0 / 3) * (sum - sum2);
    o[5 * step] = 0.5f * m[5];
}

/* Write the coordinates of the gradients of n tiles, for the outputs from `first` on. */
INLINE void write_differences(const struct bottom_gradient *j, int side, int low,
                              const struct tile *tiles, int64_t n, int64_t plane, int64_t first,
                              int64_t outputs, float *out)
{
    int64_t row_step = j->y_width * j->y_step, full = side == 4 ? 0x0f0f0f0f : 0x070707;
    for (int64_t i = 0; i < n; i++, out += TILE_STEP) {
        const struct tile *t = tiles + i;
        int64_t at = (t->image * j->y_height + t->row) * row_step + t->column * j->y_step + first;
        if (t->outputs == full)
            write_square_at(j->y, low, at, row_step, j->y_step, side, -1, outputs, plane, out);
        else
            write_square_at(j->y, low, at, row_step, j->y_step, side, t->outputs, outputs, plane, out);
    }
}

DEFINE_STEP(write_differences,
            (const struct bottom_gradient *j, const struct tile *tiles, int64_t n, int64_t plane,
             int64_t first, int64_t outputs, float *out),
            int side = SIDE_OF((int)taps_of(j->kernel));
            if (side == 4 && j->low_maps)
                write_differences(j, 4, 1, tiles, n, plane, first, outputs, out);
            else if (side == 4) write_differences(j, 4, 0, tiles, n, plane, first, outputs, out);
            else if (j->low_maps) write_differences(j, 3, 1, tiles, n, plane, first, outputs, out);
            else write_differences(j, 3, 0, tiles, n, plane, first, outputs, out))

/* Write the coordinates of the kernels of PANEL channels from `channel` on and of n outputs from
 * `first` on: pieces x points x outputs x PANEL. */
INLINE void write_kernels(const struct bottom_gradient *j, int taps, int low, int has_wide_shuffles,
                          int64_t channel, int64_t first, int64_t n, float *out)
{
    /* A kernel of 3 x 3 is read with values of the kernel before or, if it is the first, behind it. */
    float values[PANEL + KERNEL * KERNEL + 1][PANEL], (*turned)[PANEL] = values + PANEL;
    const float *g[4][16];
    const int64_t size = j->kernel * j->kernel, row = j->channels * size;
    int64_t plane = kernel_plane(j->kernel);
    memset(turned[size], 0, sizeof turned[size]);
    find_pieces(j->kernel, taps, turned, g);
    for (int64_t k = 0; k < n; k++) {
        const void *w = address(j->w, (first + k) * row + channel * size, low);
        for (int64_t i = 0; i < size; i += PANEL) {
            int is_first = first + k + channel == 0;
            int64_t at = i + PANEL < size || (size < PANEL && is_first) ? i : size - PANEL;
            turn(turned[at], address(w, at, low), size, row, low, has_wide_shuffles);
        }
        for (int64_t piece = 0; piece < pieces_of(j->kernel); piece++)
            write_piece(taps, g[piece], plane, out + piece * POINTS * plane + k * PANEL);
    }
}

DEFINE_STEP(write_kernels,
            (const struct bottom_gradient *j, int64_t channel, int64_t first, int64_t n, float *out),
            int taps = (int)taps_of(j->kernel);
            if (taps == 3 && j->low_weights)
                write_kernels(j, 3, 1, rows == ROWS, channel, first, n, out);
            else if (taps == 3) write_kernels(j, 3, 0, rows == ROWS, channel, first, n, out);
            else write_kernels(j, 4, j->low_weights, rows == ROWS, channel, first, n, out))

/* Write, or add, the products of `rows` tiles and PANEL channels over n outputs. */
INLINE void multiply(int rows, int halves, int64_t n, int adds, const float *a, const float *b,
                     float *o)
{
    vector sum[ROWS];
    UNROLL for (int i = 0; i < rows; i++) sum[i] = (vector){0};
    add_products(rows, halves, n, a, TILE_STEP, 1, b, PANEL, sum);
    UNROLL for (int i = 0; i < rows; i++) {
        vector *place = (vector *)(o + i * PANEL);
        if (adds) *place += sum[i];
        else *place = sum[i];
    }
}

/* Add the products of n tiles and PANEL channels over some outputs to the sums of the pieces. */
INLINE void add_outputs(int rows, int64_t pieces, int64_t n, int64_t outputs, int adds,
                        const float *y, int64_t plane, const float *kernels, int64_t kernel_step,
                        float *sums, int64_t sum_step)
{
    for (int64_t point = 0; point < pieces * POINTS; point++) {
        const float *a = y + point % POINTS * plane, *b = kernels + point * kernel_step;
        float *o = sums + point * sum_step;
        for (int64_t i = 0, end; i < n; i = end) {
            end = next_rows(i, n, rows);
#define CASE(N) multiply(N, rows < ROWS, outputs, adds, a + i * TILE_STEP, b, o + i * PANEL)
            EACH_NUMBER_OF_ROWS(end - i, rows, CASE)
#undef CASE
        }
    }
}

DEFINE_STEP(add_outputs,
            (int64_t pieces, int64_t n, int64_t outputs, int adds, const float *y, int64_t plane,
             const float *kernels, int64_t kernel_step, float *sums, int64_t sum_step),
            add_outputs(rows, pieces, n, outputs, adds, y, plane, kernels, kernel_step, sums, sum_step))

/* The positions of a tile that a piece of kernels joins with the outputs, both as bits 8 * p + q.
 * rows, columns: of the piece's weights. */
INLINE int64_t seeing_positions(int64_t outputs, int64_t rows, int64_t columns)
{
    int64_t across = 0, positions = 0;
    for (int64_t q = 0; q < columns; q++) across |= outputs << q;
    for (int64_t p = 0; p < rows; p++) positions |= across << 8 * p;
    return positions;
}

/* Add the gradients of a tile's inputs, PANEL channels, from the sums of a piece; return zeros, or NaN
 * where one is not finite. Positions without an output keep exact zeros. */
INLINE vector add_inputs(const struct bottom_gradient *j, int taps, const struct tile *tile,
                         int64_t piece, const float *sums, int64_t sum_step, float *x)
{
    vector half[6][6], zeros = {0};
    int64_t down = piece / 2 * taps, right = piece % 2 * taps;
    int64_t rows = j->kernel - down < taps ? j->kernel - down : taps;
    int64_t columns = j->kernel - right < taps ? j->kernel - right : taps;
    int64_t positions = seeing_positions(tile->outputs, rows, columns);
    int64_t top = tile->row - j->top + down, left = tile->column - j->left + right;
    x += ((tile->image * j->height + top) * j->width + left) * j->x_step;
    UNROLL for (int q = 0; q < 6; q++) {
        vector m[6];
        UNROLL for (int p = 0; p < 6; p++) m[p] = *(const vector *)(sums + (6 * p + q) * sum_step);
        input_basis(&half[0][q], 6, m);
    }
    UNROLL for (int p = 0; p < 6; p++) {
        vector o[6];
        input_basis(o, 1, half[p]);
        UNROLL for (int q = 0; q < 6; q++) {
            zeros += o[q] * 0;
            if (!(positions >> (8 * p + q) & 1)) continue;
            if (top + p < 0 || top + p >= j->height || left + q < 0 || left + q >= j->width) continue;
            *(vector *)(x + (p * j->width + q) * j->x_step) += o[q];
        }
    }
    return zeros;
}

/* Add the gradients of the inputs of n tiles from their sums; add zeros, or NaN where one is not finite.
 * In this order, a position's sum does not depend on the number of tiles of a block. */
INLINE void add_all_inputs(const struct bottom_gradient *j, int taps, const struct tile *tiles,
                           int64_t n, const float *sums, vector *zeros)
{
    const int64_t pieces = pieces_of(j->kernel);
    vector sum = {0};
    for (int64_t c = j->first_channel; c < j->end_channel; c += PANEL)
        for (int64_t i = 0; i < n; i++)
            for (int64_t piece = 0; piece < pieces; piece++) {
                int64_t panel = (c - j->first_channel) / PANEL * pieces + piece;
                const float *m = sums + panel * POINTS * sum_plane(n) + i * PANEL;
                sum += add_inputs(j, taps, tiles + i, piece, m, sum_plane(n), j->x + c);
            }
    *zeros += sum;
}

DEFINE_STEP(add_inputs,
            (const struct bottom_gradient *j, const struct tile *tiles, int64_t n, const float *sums,
             vector *zeros),
            if (taps_of(j->kernel) == 3) add_all_inputs(j, 3, tiles, n, sums, zeros);
            else add_all_inputs(j, 4, tiles, n, sums, zeros))

/* Write the sums of a block of n tiles over all outputs, panel by panel of the job's channels. */
INLINE void write_sums(const struct bottom_gradient *j, int rows, const struct tile *tiles,
                       int64_t n, float *y, float *kernels, float *sums)
{
    const int64_t pieces = pieces_of(j->kernel), most = some_outputs(j->kernel);
    int64_t plane = y_plane(n), sum_step = sum_plane(n), kernel_step = kernel_plane(j->kernel);
    for (int64_t deep = 0, end; deep < j->outputs; deep = end) {
        end = deep + DEEP < j->outputs ? deep + DEEP : j->outputs;
        STEP(write_differences, rows)(j, tiles, n, plane, deep, end - deep, y);
        float *o = sums;
        for (int64_t c = j->first_channel; c < j->end_channel; c += PANEL) {
            for (int64_t k = deep; k < end; k += most) {
                int64_t some = end - k < most ? end - k : most;
                STEP(write_kernels, rows)(j, c, k, some, kernels);
                STEP(add_outputs, rows)(pieces, n, some, k > 0, y + k - deep, plane, kernels,
                                        kernel_step, o, sum_step);
            }
            o += pieces * POINTS * sum_step;
        }
    }
}

INLINE void run_job(struct bottom_gradient *j, int rows, float *scratch)
{
    const int64_t pieces = pieces_of(j->kernel);
    float *y = scratch, *kernels = y + POINTS * y_plane(j->block);
    float *sums = kernels + POINTS * pieces * kernel_plane(j->kernel);
    vector zeros = {0};
    for (int64_t start = 0; start < j->count; start += j->block) {
        const struct tile *tiles = j->tiles + start;
        int64_t n = j->count - start < j->block ? j->count - start : j->block;
        write_sums(j, rows, tiles, n, y, kernels, sums);
        STEP(add_inputs, rows)(j, tiles, n, sums, &zeros);
    }
    j->finite = are_zeros(zeros);
}

DEFINE_JOBS_OF(bottom_gradient)
DEFINE_FINITE_CALL(bottom_gradient, bottom_gradient)
