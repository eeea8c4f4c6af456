/* Jobs of convolutions that read the windows of float32 maps as they are. */
#pragma once

/* What a job computes of y = slope(x * w + b + other); see winograd.c. The files say how x and w lie in
 * memory. Rows of y are counted through all images. */
struct windows {
    int64_t taken;
    const float *x, *w, *b, *other;
    float *y;
    int64_t height, width, channels, outputs, y_height, y_width, x_step, kernel, down, across, top,
        left;
    int64_t first_row, end_row, first_output, end_output;
    float slope;
    int32_t unused;
};
