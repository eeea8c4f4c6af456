/* Changes of basis of Winograd's algorithm with the points 0, ±sqrt(2), ±sqrt(1/2) and infinity: one
 * axis of a tile, and of products. winograd.py has the algorithm and its source. */
#pragma once

/* Coordinates of an axis, and of a tile or a piece of a kernel. */
#define AXIS_POINTS 6
#define POINTS 36

/* The side of the largest kernel. */
#define KERNEL 8

/* Weights of a piece along an axis, pieces of a kernel, and outputs of a tile along an axis. */
INLINE int64_t taps_of(int64_t kernel) { return kernel == 4 || kernel > 6 ? 4 : 3; }
INLINE int64_t pieces_of(int64_t kernel) { return kernel > 4 ? 4 : 1; }
#define SIDE_OF(taps) (7 - (taps))

/* The six coordinates of six inputs. */
INLINE void tile_basis(vector *o, int64_t step, const vector *d)
{
    vector even = (float)(2.0 / 3) * d[4] - (float)(1.0 / 3) * d[2];
    vector odd = 0.942809042f * d[3] - 0.471404521f * d[1];
    vector even2 = (float)(4.0 / 3) * d[2] - (float)(2.0 / 3) * d[4];
    vector odd2 = 0.942809042f * d[1] - 0.471404521f * d[3];
    o[0] = 0.5f * (d[0] + d[4]) - 1.25f * d[2];
    o[step] = even + odd;
    o[2 * step] = even - odd;
    o[3 * step] = even2 + odd2;
    o[4 * step] = even2 - odd2;
    o[5 * step] = 0.5f * (d[1] + d[5]) - 1.25f * d[3];
}

/* The first `count` outputs, the last of which sees the point at infinity: four for kernels of three
 * values, three for kernels of four. */
INLINE void output_basis(int count, vector *o, int64_t step, const vector *m)
{
    vector sum = m[1] + m[2], difference = m[1] - m[2];
    vector sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    o[0] = m[0] + sum + sum2;
    o[step] = 1.41421356f * difference + 0.707106781f * difference2;
    o[2 * step] = 2 * sum + 0.5f * sum2;
    if (count == 3) o[2 * step] += m[5];
    else o[3 * step] = 2.82842712f * difference + 0.353553391f * difference2 + m[5];
}

/* The six coordinates of the gradients of three or four outputs: the transpose of output_basis. */
INLINE void difference_basis(int count, vector *o, int64_t step, const vector *d)
{
    vector even = d[0] + 2 * d[2], odd = 1.41421356f * d[1];
    vector even2 = d[0] + 0.5f * d[2], odd2 = 0.707106781f * d[1];
    if (count == 4) {
        odd += 2.82842712f * d[3];
        odd2 += 0.353553391f * d[3];
    }
    o[0] = d[0];
    o[step] = even + odd;
    o[2 * step] = even - odd;
    o[3 * step] = even2 + odd2;
    o[4 * step] = even2 - odd2;
    o[5 * step] = d[count - 1];
}

/* Write the coordinates of n channels of side * side positions of a map, PANEL by PANEL: of inputs, 6 x 6,
 * or of gradients of outputs. first: the number of the first position's first value, which may lie
 * beyond the map. row_step, step: values between rows and between positions. positions: those that
 * count, as bits 8 * p + q, or -1 for all; in place of the others are zeros. Coordinates are `plane`
 * values apart. */
INLINE void write_square_at(const void *map, int low, int64_t first, int64_t row_step, int64_t step,
                            int side, int64_t positions, int64_t n, int64_t plane, float *out)
{
    for (int64_t c = 0; c < n; c += PANEL) {
        vector half[AXIS_POINTS][AXIS_POINTS];
        UNROLL for (int q = 0; q < side; q++) {
            vector d[AXIS_POINTS];
            UNROLL for (int p = 0; p < side; p++) {
                d[p] = (vector){0};
                if (positions < 0 || positions >> (8 * p + q) & 1)
                    d[p] = load(map, first + p * row_step + q * step + c, low);
            }
            if (side == AXIS_POINTS) tile_basis(&half[0][q], AXIS_POINTS, d);
            else difference_basis(side, &half[0][q], AXIS_POINTS, d);
        }
        UNROLL for (int p = 0; p < AXIS_POINTS; p++) {
            vector o[AXIS_POINTS];
            if (side == AXIS_POINTS) tile_basis(o, 1, half[p]);
            else difference_basis(side, o, 1, half[p]);
            UNROLL for (int q = 0; q < AXIS_POINTS; q++)
                *(vector *)(out + (AXIS_POINTS * p + q) * plane + c) = o[q];
        }
    }
}

/* Likewise, with code of its own for each type of maps, and for squares all of whose positions count. */
INLINE void write_square(const void *map, int low, int64_t first, int64_t row_step, int64_t step,
                         int side, int64_t positions, int64_t n, int64_t plane, float *out)
{
#define WRITE(low, positions) \
    write_square_at(map, low, first, row_step, step, side, positions, n, plane, out)
    if (low) {
        if (positions < 0) WRITE(1, -1);
        else WRITE(1, positions);
    } else {
        if (positions < 0) WRITE(0, -1);
        else WRITE(0, positions);
    }
#undef WRITE
}

/* The positions of a square that lie on a map, as bits 8 * p + q; -1 if all do. */
INLINE int64_t positions_on_map(int side, int64_t top, int64_t left, int64_t height, int64_t width)
{
    int64_t across = 0, positions = 0;
    if (top >= 0 && left >= 0 && top + side <= height && left + side <= width) return -1;
    for (int64_t q = 0; q < side; q++) across |= (int64_t)(left + q >= 0 && left + q < width) << q;
    for (int64_t p = 0; p < side; p++)
        if (top + p >= 0 && top + p < height) positions |= across << 8 * p;
    return positions;
}

/* Turn a square of PANEL rows of PANEL values in place. */
#define TURN_SQUARE(rows) \
    SWAP_HALVES(rows, 8, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) \
    SWAP_HALVES(rows, 4, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) \
    SWAP_HALVES(rows, 2, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) \
    SWAP_HALVES(rows, 1, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)
