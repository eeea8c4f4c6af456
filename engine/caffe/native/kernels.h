/* Kernels of Winograd's algorithm in the basis of basis.h, PANEL at a time. */
#pragma once

/* The six coordinates of one axis of a piece of a kernel. */
INLINE void kernel_basis(int taps, vector *o, int64_t step, const vector *g)
{
    vector even = 0.25f * g[0] + 0.5f * g[2], odd = 0.353553391f * g[1];
    vector even2 = g[0] + 0.5f * g[2], odd2 = 0.707106781f * g[1];
    if (taps == 4) {
        odd += 0.707106781f * g[3];
        odd2 += 0.353553391f * g[3];
    }
    o[0] = 2 * g[0];
    o[step] = even + odd;
    o[2 * step] = even - odd;
    o[3 * step] = even2 + odd2;
    o[4 * step] = even2 - odd2;
    o[5 * step] = 2 * g[taps - 1];
}

/* Turn PANEL rows of PANEL values, a_step apart, into columns. ahead: how many values further on
 * the memory is that is read next, and fetched now. */
INLINE void turn(float *o, const void *a, int64_t a_step, int64_t ahead, int low,
                 int has_wide_shuffles)
{
    if (has_wide_shuffles) {
        vector rows[PANEL];
        UNROLL for (int i = 0; i < PANEL; i++) {
            rows[i] = load(a, i * a_step, low);
            __builtin_prefetch(address(a, i * a_step + ahead, low));
        }
        TURN_SQUARE(rows)
        UNROLL for (int i = 0; i < PANEL; i++) *(vector *)(o + i * PANEL) = rows[i];
        return;
    }
    for (int i = 0; i < PANEL; i++) {
        vector row = load(a, i * a_step, low);
        for (int k = 0; k < PANEL; k++) o[k * PANEL + i] = row[k];
    }
}

/* Write the coordinates of a piece of PANEL kernels, `step` values apart. g: the weights of the
 * piece, row by row. */
INLINE void write_piece(int taps, const float *const *g, int64_t step, float *out)
{
    vector half[6][4];
    UNROLL for (int q = 0; q < taps; q++) {
        vector column[4];
        UNROLL for (int p = 0; p < taps; p++) column[p] = *(const vector *)g[taps * p + q];
        kernel_basis(taps, &half[0][q], 4, column);
    }
    UNROLL for (int p = 0; p < 6; p++) {
        vector o[6];
        kernel_basis(taps, o, 1, half[p]);
        UNROLL for (int q = 0; q < 6; q++) *(vector *)(out + (6 * p + q) * step) = o[q];
    }
}

/* Write where the weights of all pieces are among those of a kernel, which are `turned`: rows of PANEL
 * values, then a row for those of a piece that lie beyond the kernel. */
INLINE void find_pieces(int64_t kernel, int taps, float (*turned)[PANEL], const float *g[4][16])
{
    for (int64_t piece = 0; piece < pieces_of(kernel); piece++)
        for (int64_t i = 0; i < taps * taps; i++) {
            int64_t p = piece / 2 * taps + i / taps, q = piece % 2 * taps + i % taps;
            g[piece][i] = turned[p < kernel && q < kernel ? p * kernel + q : kernel * kernel];
        }
}
