/* Products of bfloat16 matrices by the dot-product instructions of AVX-512, sums in float32.
 *
 * Products stand in pairs of neighbouring elements along what is summed over: a pair is one 32-bit word.
 */
#ifdef __AVX512BF16__
#include <immintrin.h>
#include <stdlib.h>

enum { ROWS = 6, COLUMNS = 64 };
enum { WRITE, ADD, NARROW };

/* c (mr, 16 nv) = sum over k of a[m am + k ak] b[k bk + n], words of a spread over a register of words of b; ADD adds it
 * to what stands there, NARROW writes bfloat16. Words are pairs of bfloat16, or float32 where `wide`. */
static inline __attribute__((always_inline)) void tile(const uint32_t *a, long am, long ak, const uint32_t *b, long bk, float *c, long cm, long k, int how,
                                                       const int mr, const int nv, const int wide) {
    __m512 sum[ROWS][4];
#pragma GCC unroll 6
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++) {
            sum[m][n] = _mm512_setzero_ps();
            if (how == ADD) _mm_prefetch((const char *)(c + m * cm + 16 * n), _MM_HINT_T0);
        }
    /* Two pointers reach six rows without a multiplication; the compiler is kept from making six of them. */
    const uint32_t *lower = a + 3 * am;
    for (long i = 0; i < k; i++) {
        __m512bh right[4];
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++) right[n] = (__m512bh)_mm512_loadu_si512(b + 16 * n);
#pragma GCC unroll 6
        for (int m = 0; m < mr; m++) {
            __m512bh left = (__m512bh)_mm512_set1_epi32((int)(m < 3 ? a[m * am] : lower[(m - 3) * am]));
#pragma GCC unroll 4
            for (int n = 0; n < nv; n++)
                sum[m][n] = wide ? _mm512_fmadd_ps((__m512)left, (__m512)right[n], sum[m][n]) : _mm512_dpbf16_ps(sum[m][n], left, right[n]);
        }
        a += ak, lower += ak, b += bk;
        __asm__("" : "+r"(a), "+r"(lower), "+r"(b));
    }
#pragma GCC unroll 6
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++) {
            float *to = c + m * cm + 16 * n;
            if (how == NARROW)
                _mm256_storeu_si256((__m256i *)((bf16 *)c + m * cm + 16 * n), (__m256i)_mm512_cvtneps_pbh(sum[m][n]));
            else
                _mm512_storeu_ps(to, how == ADD ? _mm512_add_ps(_mm512_loadu_ps(to), sum[m][n]) : sum[m][n]);
        }
}

#define TILE(MR, NV)                                                                                                                        \
    static void tile_##MR##_##NV(const uint32_t *a, long am, long ak, const uint32_t *b, long bk, float *c, long cm, long k, int how) {       \
        tile(a, am, ak, b, bk, c, cm, k, how, MR, NV, 0);                                                                                     \
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
    enum { DEEP = 1024, WIDE = 48 * 8, PANEL = 48 };
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
                              least(ROWS, least(p + PANEL, wide) - s), least(COLUMNS, d - c), pairs, k > 0 ? ADD : WRITE);
        }
    }
    free(base);
    return 0;
}

static inline uint32_t below(long bound, long at) {
    long n = bound - at;
    return n <= 0 ? 0u : n >= 16 ? 0xffffu : (1u << n) - 1u;
}

/* to[c * np + i] = the pair (2 c, 2 c + 1) of row i; rows past n are 0. */
static void turn(const bf16 *x, long stride, long n, long np, long d, uint32_t *to) {
    __m512i index = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi32((int)(stride / 2)));
    for (long i = 0; i < np; i += 16) {
        const int *from = (const int *)(x + i * stride);
        __mmask16 there = (__mmask16)below(n, i);
        for (long c = 0; c < d / 2; c++)
            _mm512_storeu_si512(to + c * np + i, _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), there, index, from + c, 4));
    }
}

static void narrow_row(const float *x, long d, bf16 *to) {
    for (long c = 0; c < d; c += 16) _mm256_storeu_si256((__m256i *)(to + c), narrow(_mm512_loadu_ps(x + c)));
}

/* Panels of the right factor of `multiply`; rows are rounded in `spare`, room for COLUMNS rows, where w is float32. */
static void pack(const void *w, int wide, int across, long in, long out, bf16 *spare, uint32_t *to) {
    long pairs = in / 2;
    for (long c = 0; c < out; c += COLUMNS, to += COLUMNS * pairs) {
        long columns = least(COLUMNS, out - c);
        if (across && wide)
            for (long k = 0; k < pairs; k++)
                for (long i = 0; i < columns; i += 16) {
                    const float *row = (const float *)w + 2 * k * out + c + i;
                    _mm512_storeu_si512(to + k * COLUMNS + i, words(narrow(_mm512_loadu_ps(row)), narrow(_mm512_loadu_ps(row + out))));
                }
        else if (across)
            panels((const bf16 *)w + c, out, in, pairs, columns, COLUMNS, to);
        else {
            const bf16 *rows = (const bf16 *)w + c * in;
            for (long i = 0; wide && i < columns; i++) narrow_row((const float *)w + (c + i) * in, in, spare + i * in);
            turn(wide ? spare : rows, in, columns, COLUMNS, in, to);
        }
    }
}

/* y (n, out) = x (n, in) times w (out, in) turned over, or `across` times w (in, out) as it stands; w is float32 where
 * `wide`, then rounded; y is float32 where `full`. in and out are multiples of 16. */
int multiply(const bf16 *x, long xstride, const void *w, int wide, int across, void *y, long ystride, int full, long n, long in, long out) {
    long pairs = in / 2, whole = (out + COLUMNS - 1) / COLUMNS * COLUMNS;
    /* Rows of x that stay in the second-level cache while all panels pass by. */
    long block = most(1, 200 * 1024 / (in * 2) / ROWS) * ROWS;
    char *base = aligned_alloc(64, (size_t)(pairs * whole * 4 + COLUMNS * in * 2 + 128) & ~63UL), *at = base;
    if (!base) return 1;
    uint32_t *right = room(&at, pairs * whole * 4);
    pack(w, wide, across, in, out, room(&at, COLUMNS * in * 2), right);
    for (long r = 0; r < n; r += block)
        for (long c = 0; c < out; c += COLUMNS)
            for (long s = r; s < least(n, r + block); s += ROWS) {
                long m = least(ROWS, least(n, r + block) - s), v = least(COLUMNS, out - c) / 16;
                const uint32_t *left = (const uint32_t *)(x + s * xstride);
                float *to = full ? (float *)y + s * ystride + c : (float *)((bf16 *)y + s * ystride + c);
                TILE_OF[m - 1][v - 1](left, xstride / 2, 1, right + c * pairs, COLUMNS, to, ystride, pairs, full ? WRITE : NARROW);
            }
    free(base);
    return 0;
}
#endif
