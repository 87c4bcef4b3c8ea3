/* Attention of trees of tokens in bfloat16, sums in float32.
 *
 * Every query sees two runs of keys of its group: [see[0], see[1]) and [see[2], see[3]), counted from the group's
 * first key; either may be empty.
 */
#ifdef __AVX512BF16__
enum { BLOCK = 48 };

typedef struct {
    long lo[2], hi[2];
    int runs;
} Cover;

/* What rows of queries see together, in whole registers of keys: one or two runs. */
static Cover cover_of(const int32_t *see, long rows) {
    Cover c;
    for (int r = 0; r < 2; r++) {
        c.lo[r] = 1L << 30, c.hi[r] = 0;
        for (long i = 0; i < rows; i++) {
            const int32_t *s = see + 4 * i + 2 * r;
            if (s[1] > s[0]) c.lo[r] = least(c.lo[r], s[0]), c.hi[r] = most(c.hi[r], s[1]);
        }
        c.lo[r] &= ~15L, c.hi[r] = (c.hi[r] + 15) & ~15L;
    }
    c.runs = 2;
    if (c.hi[1] == 0) c.runs = 1;
    else if (c.hi[0] == 0) c.runs = 1, c.lo[0] = c.lo[1], c.hi[0] = c.hi[1];
    else if (c.lo[1] <= c.hi[0]) c.runs = 1, c.lo[0] = least(c.lo[0], c.lo[1]), c.hi[0] = most(c.hi[0], c.hi[1]);
    return c;
}

/* Which of the keys [at, at + 16) a query sees. */
static inline __mmask16 seen(const int32_t *s, long at) {
    if ((s[0] <= at && at + 16 <= s[1]) || (s[2] <= at && at + 16 <= s[3])) return 0xffff;
    return (__mmask16)((below(s[1], at) & ~below(s[0], at)) | (below(s[3], at) & ~below(s[2], at)));
}

/* Covers of each strip of rows. */
static void covers_of(const int32_t *see, long rows, Cover *covers) {
    for (long i = 0; i < rows; i += ROWS) covers[i / ROWS] = cover_of(see + 4 * i, least(ROWS, rows - i));
}

static inline __m512 exp_of(__m512 x) {
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fmsub_ps(x, _mm512_set1_ps(1.44269504f), n);
    __m512 p = _mm512_set1_ps(1.339086735e-3f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.666373693e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.550357104e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.402234894e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.931471880e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* to[(i / 2) * d + c] = the pair of rows (i, i + 1) at c; rows past n are 0. */
static void interleave(const bf16 *x, long stride, long n, long np, long d, uint32_t *to) {
    for (long i = 0; i < np; i += 2, to += d)
        for (long c = 0; c < d; c += 16) {
            __m256i even = i < n ? _mm256_loadu_si256((const __m256i *)(x + i * stride + c)) : _mm256_setzero_si256();
            __m256i odd = i + 1 < n ? _mm256_loadu_si256((const __m256i *)(x + (i + 1) * stride + c)) : _mm256_setzero_si256();
            _mm512_storeu_si512(to + c, words(even, odd));
        }
}

/* Rows of scores (rows, np) over the keys of a cover: q (stride apart) times the turned keys. */
static void score(const bf16 *q, long stride, const uint32_t *turned, long np, long d, const Cover *covers, long rows, float *s) {
    for (long i = 0; i < rows; i += ROWS) {
        long m = least(ROWS, rows - i);
        Cover c = covers[i / ROWS];
        for (int r = 0; r < c.runs; r++)
            strip((const uint32_t *)(q + i * stride), stride / 2, 1, turned + c.lo[r], np, s + i * np + c.lo[r], np, m, c.hi[r] - c.lo[r], d / 2, 0);
    }
}

/* out (rows, d) = weights (rows, np) times the interleaved rows of a group. */
static void gather_rows(const bf16 *weights, long np, const uint32_t *rows_of, long d, const Cover *covers, long rows, float *out) {
    for (long i = 0; i < rows; i += ROWS) {
        long m = least(ROWS, rows - i);
        Cover c = covers[i / ROWS];
        for (int r = 0; r < c.runs; r++)
            strip((const uint32_t *)(weights + i * np + c.lo[r]), np / 2, 1, rows_of + c.lo[r] / 2 * d, d, out + i * d, d, m, d, (c.hi[r] - c.lo[r]) / 2, r);
    }
}

/* q, out: (M, heads, d); k, v: (N, kv, d), rows kstride and vstride apart; see: (M, 4); lse: (M, heads).
 * groups: (count, 4) of first query, queries, first key, keys. Key heads [from, to) are worked on. */
int tree_attention(const bf16 *q, const bf16 *k, long kstride, const bf16 *v, long vstride, const int32_t *see, const int64_t *groups, long count, bf16 *out,
                   float *lse, long heads, long kv, long d, float scale, long from, long to) {
    long longest = 16, rep = heads / kv, stride = heads * d;
    for (long g = 0; g < count; g++) longest = most(longest, groups[4 * g + 3]);
    longest = (longest + 15) & ~15L;
    char *base = aligned_alloc(64, (size_t)(longest * d * 4 + BLOCK * (longest * 6 + d * 4) + 1024) & ~63UL), *at = base;
    if (!base) return 1;
    uint32_t *turned = room(&at, longest * d * 2), *values = room(&at, longest * d * 2);
    float *s = room(&at, BLOCK * longest * 4), *o = room(&at, BLOCK * d * 4);
    bf16 *p = room(&at, BLOCK * longest * 2);
    for (long g = 0; g < count; g++, groups += 4) {
        long n = groups[3], np = (n + 15) & ~15L;
        for (long h = from; h < to; h++) {
            turn(k + groups[2] * kstride + h * d, kstride, n, np, d, turned);
            interleave(v + groups[2] * vstride + h * d, vstride, n, np, d, values);
            for (long r = h * rep; r < (h + 1) * rep; r++)
                for (long first = 0; first < groups[1]; first += BLOCK) {
                    long rows = least(BLOCK, groups[1] - first), row = groups[0] + first;
                    const int32_t *see_rows = see + 4 * row;
                    float share[BLOCK];
                    Cover covers[BLOCK / ROWS];
                    covers_of(see_rows, rows, covers);
                    score(q + row * stride + r * d, stride, turned, np, d, covers, rows, s);
                    for (long i = 0; i < rows; i += ROWS) {
                        long m = least(ROWS, rows - i);
                        Cover c = covers[i / ROWS];
                        for (long j = i; j < i + m; j++) {
                            const int32_t *sees = see_rows + 4 * j;
                            __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
                            for (int run = 0; run < c.runs; run++)
                                for (long x = c.lo[run]; x < c.hi[run]; x += 16)
                                    top = _mm512_mask_max_ps(top, seen(sees, x), top, _mm512_loadu_ps(s + j * np + x));
                            float highest = _mm512_reduce_max_ps(top) * scale;
                            for (int run = 0; run < c.runs; run++)
                                for (long x = c.lo[run]; x < c.hi[run]; x += 16) {
                                    __m512 e = exp_of(_mm512_fmsub_ps(_mm512_loadu_ps(s + j * np + x), _mm512_set1_ps(scale), _mm512_set1_ps(highest)));
                                    e = _mm512_maskz_mov_ps(seen(sees, x), e);
                                    sum = _mm512_add_ps(sum, e);
                                    _mm256_storeu_si256((__m256i *)(p + j * np + x), narrow(e));
                                }
                            float total = _mm512_reduce_add_ps(sum);
                            lse[(row + j) * heads + r] = highest + logf(total);
                            share[j] = 1.0f / total;
                        }
                    }
                    gather_rows(p, np, values, d, covers, rows, o);
                    for (long j = 0; j < rows; j++)
                        for (long x = 0; x < d; x += 16)
                            _mm256_storeu_si256((__m256i *)(out + (row + j) * stride + r * d + x),
                                                narrow(_mm512_mul_ps(_mm512_loadu_ps(o + j * d + x), _mm512_set1_ps(share[j]))));
                }
        }
    }
    free(base);
    return 0;
}

/* Weights p and the scores' gradient of rows: as pairs of rows, and the latter row by row too. */
static void soften(const float *s, const float *dp, const int32_t *see, const float *lse, long heads, long rows, long np, float scale, Cover all, uint32_t *p2,
                   uint32_t *ds2, bf16 *ds) {
    for (long j = 0; j < rows; j += 2) {
        float dot[2], low[2];
        int there = rows - j > 1;
        for (int b = 0; b < 2; b++) {
            __m512 sum = _mm512_setzero_ps();
            low[b] = b <= there ? lse[(j + b) * heads] : 0.0f;
            if (b <= there)
                for (int run = 0; run < all.runs; run++)
                    for (long x = all.lo[run]; x < all.hi[run]; x += 16) {
                        __mmask16 mask = seen(see + 4 * (j + b), x);
                        if (!mask) continue;
                        __m512 e = exp_of(_mm512_fmsub_ps(_mm512_loadu_ps(s + (j + b) * np + x), _mm512_set1_ps(scale), _mm512_set1_ps(low[b])));
                        sum = _mm512_mask3_fmadd_ps(e, _mm512_loadu_ps(dp + (j + b) * np + x), sum, mask);
                        _mm512_storeu_ps((float *)s + (j + b) * np + x, e);
                    }
            dot[b] = _mm512_reduce_add_ps(sum);
        }
        for (int run = 0; run < all.runs; run++)
            for (long x = all.lo[run]; x < all.hi[run]; x += 16) {
                __m256i weight[2], grad[2];
                for (int b = 0; b < 2; b++) {
                    __mmask16 mask = b <= there ? seen(see + 4 * (j + b), x) : 0;
                    __m512 e = _mm512_maskz_loadu_ps(mask, s + (j + b) * np + x);
                    __m512 t = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, dp + (j + b) * np + x), _mm512_set1_ps(dot[b]));
                    weight[b] = narrow(e);
                    grad[b] = narrow(_mm512_maskz_mul_ps(mask, _mm512_mul_ps(e, _mm512_set1_ps(scale)), t));
                    if (b <= there) _mm256_storeu_si256((__m256i *)(ds + (j + b) * np + x), grad[b]);
                }
                _mm512_storeu_si512(p2 + j / 2 * np + x, words(weight[0], weight[1]));
                _mm512_storeu_si512(ds2 + j / 2 * np + x, words(grad[0], grad[1]));
            }
    }
}

/* sums (keys, d) += pairs of rows (rows / 2, np) turned over, times the interleaved rows. */
static void spread(const uint32_t *pairs, long np, const uint32_t *rows_of, long d, long rows, Cover all, float *sums) {
    for (int run = 0; run < all.runs; run++)
        for (long x = all.lo[run]; x < all.hi[run]; x += ROWS)
            strip(pairs + x, 1, np, rows_of, d, sums + x * d, d, least(ROWS, all.hi[run] - x), d, (rows + 1) / 2, 1);
}

static void settle(const float *sums, long n, long d, bf16 *to, long stride) {
    for (long i = 0; i < n; i++)
        for (long x = 0; x < d; x += 16) _mm256_storeu_si256((__m256i *)(to + i * stride + x), narrow(_mm512_loadu_ps(sums + i * d + x)));
}

/* dk, dv: (N, kv, d). */
int tree_attention_backward(const bf16 *q, const bf16 *k, long kstride, const bf16 *v, long vstride, const int32_t *see, const int64_t *groups, long count,
                            const float *lse, const bf16 *dout, bf16 *dq, bf16 *dk, bf16 *dv, long heads, long kv, long d, float scale, long from, long to) {
    long longest = 16, rep = heads / kv, stride = heads * d;
    for (long g = 0; g < count; g++) longest = most(longest, groups[4 * g + 3]);
    longest = (longest + 15) & ~15L;
    char *base = aligned_alloc(64, (size_t)(longest * d * 14 + BLOCK * (longest * 14 + d * 8) + 2048) & ~63UL), *at = base;
    if (!base) return 1;
    uint32_t *kt = room(&at, longest * d * 2), *vt = room(&at, longest * d * 2), *ki = room(&at, longest * d * 2);
    float *sk = room(&at, longest * d * 4), *sv = room(&at, longest * d * 4);
    float *s = room(&at, BLOCK * longest * 4), *dp = room(&at, BLOCK * longest * 4), *o = room(&at, BLOCK * d * 4);
    uint32_t *p2 = room(&at, BLOCK * longest * 2), *ds2 = room(&at, BLOCK * longest * 2);
    bf16 *ds = room(&at, BLOCK * longest * 2);
    uint32_t *qi = room(&at, BLOCK * d * 2), *gi = room(&at, BLOCK * d * 2);
    for (long g = 0; g < count; g++, groups += 4) {
        long n = groups[3], np = (n + 15) & ~15L;
        for (long h = from; h < to; h++) {
            turn(k + groups[2] * kstride + h * d, kstride, n, np, d, kt);
            turn(v + groups[2] * vstride + h * d, vstride, n, np, d, vt);
            interleave(k + groups[2] * kstride + h * d, kstride, n, np, d, ki);
            memset(sk, 0, (size_t)(np * d * 4));
            memset(sv, 0, (size_t)(np * d * 4));
            for (long r = h * rep; r < (h + 1) * rep; r++)
                for (long first = 0; first < groups[1]; first += BLOCK) {
                    long rows = least(BLOCK, groups[1] - first), row = groups[0] + first, even = (rows + 1) & ~1L;
                    const int32_t *see_rows = see + 4 * row;
                    const bf16 *q_rows = q + row * stride + r * d, *g_rows = dout + row * stride + r * d;
                    Cover all = cover_of(see_rows, rows), covers[BLOCK / ROWS];
                    covers_of(see_rows, rows, covers);
                    score(q_rows, stride, kt, np, d, covers, rows, s);
                    score(g_rows, stride, vt, np, d, covers, rows, dp);
                    soften(s, dp, see_rows, lse + row * heads + r, heads, rows, np, scale, all, p2, ds2, ds);
                    gather_rows(ds, np, ki, d, covers, rows, o);
                    settle(o, rows, d, dq + row * stride + r * d, stride);
                    interleave(q_rows, stride, rows, even, d, qi);
                    interleave(g_rows, stride, rows, even, d, gi);
                    spread(ds2, np, qi, d, rows, all, sk);
                    spread(p2, np, gi, d, rows, all, sv);
                }
            settle(sk, n, d, dk + groups[2] * kv * d + h * d, kv * d);
            settle(sv, n, d, dv + groups[2] * kv * d + h * d, kv * d);
        }
    }
    free(base);
    return 0;
}
#endif
