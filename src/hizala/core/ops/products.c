/* Products of bfloat16 matrices by the dot-product instructions of AVX-512, sums in float32.
 *
 * Products stand in pairs of neighbouring elements along what is summed over: a pair is one 32-bit word.
 */
#ifdef __AVX512BF16__
#include <immintrin.h>
#include <stdlib.h>

enum { ROWS = 6 };

/* c (mr, 16 nv) {=, +=} sum over k of a[m am + k ak] b[k bk + n], words of a spread over a register of words of b. */
static inline __attribute__((always_inline)) void tile(const uint32_t *a, long am, long ak, const uint32_t *b, long bk, float *c, long cm, long k, int add,
                                                       const int mr, const int nv) {
    __m512 sum[ROWS][4];
#pragma GCC unroll 6
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++) {
            sum[m][n] = _mm512_setzero_ps();
            if (add) _mm_prefetch((const char *)(c + m * cm + 16 * n), _MM_HINT_T0);
        }
    for (long i = 0; i < k; i++) {
        __m512bh right[4];
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++) right[n] = (__m512bh)_mm512_loadu_si512(b + i * bk + 16 * n);
#pragma GCC unroll 6
        for (int m = 0; m < mr; m++) {
            __m512bh left = (__m512bh)_mm512_set1_epi32((int)a[m * am + i * ak]);
#pragma GCC unroll 4
            for (int n = 0; n < nv; n++) sum[m][n] = _mm512_dpbf16_ps(sum[m][n], left, right[n]);
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++) {
            float *to = c + m * cm + 16 * n;
            _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), sum[m][n]) : sum[m][n]);
        }
}

#define TILE(MR, NV)                                                                                                                        \
    static void tile_##MR##_##NV(const uint32_t *a, long am, long ak, const uint32_t *b, long bk, float *c, long cm, long k, int add) {       \
        tile(a, am, ak, b, bk, c, cm, k, add, MR, NV);                                                                                        \
    }
#define TILES(MR) TILE(MR, 1) TILE(MR, 2) TILE(MR, 3) TILE(MR, 4)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
#define LINE(MR) {tile_##MR##_1, tile_##MR##_2, tile_##MR##_3, tile_##MR##_4}
typedef void (*Tile)(const uint32_t *, long, long, const uint32_t *, long, float *, long, long, int);
static const Tile TILE_OF[ROWS][4] = {LINE(1), LINE(2), LINE(3), LINE(4), LINE(5), LINE(6)};

/* At most ROWS rows; n is a multiple of 16. */
static void strip(const uint32_t *a, long am, long ak, const uint32_t *b, long bk, float *c, long cm, long m, long n, long k, int add) {
    for (long j = 0; j < n; j += 64) {
        long left = (n - j) / 16;
        TILE_OF[m - 1][(left < 4 ? left : 4) - 1](a, am, ak, b + j, bk, c + j, cm, k, add);
    }
}

static inline long least(long a, long b) { return a < b ? a : b; }
static inline long most(long a, long b) { return a > b ? a : b; }

static inline __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

static inline __m512i words(__m256i even, __m256i odd) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

static void *room(char **at, long bytes) {
    void *here = *at;
    *at += (bytes + 63) & ~63L;
    return here;
}

/* to[panel][k][width]: pairs of rows (2k, 2k + 1) of x (n, d), in panels of columns; rows past n are 0. */
static void panels(const bf16 *x, long stride, long n, long pairs, long d, long width, uint32_t *to) {
    for (long at = 0; at < d; at += width, to += pairs * width) {
        long w = least(width, d - at);
        for (long k = 0; k < pairs; k++) {
            const bf16 *row = x + 2 * k * stride + at;
            for (long c = 0; c < w; c += 16) {
                __m256i even = _mm256_loadu_si256((const __m256i *)(row + c));
                __m256i odd = 2 * k + 1 < n ? _mm256_loadu_si256((const __m256i *)(row + stride + c)) : _mm256_setzero_si256();
                _mm512_storeu_si512(to + k * width + c, words(even, odd));
            }
        }
    }
}

/* sums (rows, d) = g (n, rows) turned over, times x (n, d); rows and d are multiples of 16. What is summed over is cut
 * into runs that stay in the caches together with their packed copies. */
int outer_sum(const bf16 *g, long gstride, const bf16 *x, long xstride, float *sums, long sstride, long n, long rows, long d) {
    enum { DEEP = 1024, WIDE = 48 * 8, PANEL = 48, COLUMNS = 64 };
    long across = (d + COLUMNS - 1) / COLUMNS * COLUMNS;
    char *base = aligned_alloc(64, (size_t)(DEEP / 2 * (across + WIDE) * 4 + 128) & ~63UL), *at = base;
    if (!base) return 1;
    uint32_t *right = room(&at, DEEP / 2 * across * 4), *left = room(&at, DEEP / 2 * WIDE * 4);
    for (long k = 0; k < n; k += DEEP) {
        long deep = least(DEEP, n - k), pairs = (deep + 1) / 2;
        panels(x + k * xstride, xstride, deep, pairs, d, COLUMNS, right);
        for (long r = 0; r < rows; r += WIDE) {
            long wide = least(WIDE, rows - r);
            panels(g + k * gstride + r, gstride, deep, pairs, wide, PANEL, left);
            for (long c = 0; c < d; c += COLUMNS)
                for (long p = 0; p < wide; p += PANEL)
                    for (long s = p; s < least(p + PANEL, wide); s += ROWS)
                        strip(left + p * pairs + s - p, 1, PANEL, right + c * pairs, COLUMNS, sums + (r + s) * sstride + c, sstride,
                              least(ROWS, least(p + PANEL, wide) - s), least(COLUMNS, d - c), pairs, k > 0);
        }
    }
    free(base);
    return 0;
}
#endif
