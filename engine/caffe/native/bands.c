/* Successive convolutions of one image, of which each reads what the one before has written, on a band
 * of rows after the other. Of the maps between them, only the rows that the next convolution sees exist
 * at a time, so that they stay in the core's own cache.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"

/* The most convolutions, and words of a job. */
#define STAGES 8
#define WORDS 40
/* The words of a job in which addresses of maps are; bands.py checks them. */
#define X 1
#define OTHER 4
#define Y 5

/* A convolution: the function that runs jobs, and a job for all rows, of `words` words. The job's range
 * begins in word `first` and ends in the next; a row has `scale` of its units. down, kernel, top: which
 * of the `height` rows of x a row sees. x_row, y_row: values of a row. buffer: where the scratch memory
 * has the rows of the result. */
struct stage {
    int (*run)(void *, int64_t, const struct team *);
    const int64_t *job;
    int64_t words, first, scale, down, kernel, top, height, x_row, y_row, buffer;
};

/* What a job computes: rows of the last result, `strip` at a time. The last convolution may add another
 * map. The scratch memory begins with that of the stages. */
struct band {
    int64_t taken;
    const float *x, *other;
    float *y;
    const struct stage *stages;
    int64_t count, strip, first_row, end_row;
};

/* A range of rows. */
struct range {
    int64_t start, end;
};

/* Return the rows of x that a convolution sees for some of its rows. */
INLINE struct range rows_before(const struct stage *s, struct range y)
{
    int64_t start = y.start * s->down - s->top, end = (y.end - 1) * s->down - s->top + s->kernel;
    return (struct range){start > 0 ? start : 0, end < s->height ? end : s->height};
}

/* Make room for the rows that are needed now; return the first of them that the buffer does not have. */
INLINE int64_t advance(float *buffer, int64_t row, struct range *present, struct range needed)
{
    int64_t missing = needed.start;
    if (present->end > needed.start) {
        memmove(buffer, buffer + (needed.start - present->start) * row,
                4 * row * (present->end - needed.start));
        missing = present->end;
    }
    *present = needed;
    return missing;
}

/* The address that row 0 would have, of rows that begin with number `start`. */
INLINE int64_t origin(const float *rows, int64_t start, int64_t row)
{
    return (int64_t)(uintptr_t)rows - 4 * start * row;
}

INLINE void run_job(struct band *j, int rows, float *scratch)
{
    struct range present[STAGES] = {{0, 0}}, needed[STAGES];
    const int64_t last = j->count - 1;
    int64_t job[WORDS];
    /* A team of this thread alone. */
    int64_t team[sizeof(struct team) / 8 + 1] = {0, 0, 1, (int64_t)(uintptr_t)scratch};
    for (int64_t start = j->first_row; start < j->end_row; start += j->strip) {
        int64_t end = start + j->strip;
        needed[last] = (struct range){start, end < j->end_row ? end : j->end_row};
        for (int64_t i = last; i > 0; i--) needed[i - 1] = rows_before(&j->stages[i], needed[i]);
        int64_t x = (int64_t)(uintptr_t)j->x;
        for (int64_t i = 0; i <= last; i++) {
            const struct stage *s = &j->stages[i];
            float *buffer = scratch + s->buffer;
            int64_t missing = start;
            if (i < last) missing = advance(buffer, s->y_row, &present[i], needed[i]);
            memcpy(job, s->job, 8 * s->words);
            job[X] = x;
            job[OTHER] = i < last ? 0 : (int64_t)(uintptr_t)j->other;
            x = i < last ? origin(buffer, needed[i].start, s->y_row) : (int64_t)(uintptr_t)j->y;
            job[Y] = x;
            job[s->first] = missing * s->scale;
            job[s->first + 1] = needed[i].end * s->scale;
            if (missing < needed[i].end) s->run(job, 1, (const struct team *)team);
        }
    }
    (void)rows;
}

DEFINE_JOBS_OF(band)
DEFINE_CALL(bands, band)
