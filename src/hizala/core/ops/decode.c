/* One decoding step of many rows: every row's next token through all layers, to its logits.
 *
 * Sums and the residual row are in float32; weights, keys, values and the left factors of products are words: a float32
 * where `wide`, else a pair of bfloat16 along what is summed over. A prompt's keys and values stand once for all rows
 * that continue it; what a row has generated stands in a slot of its own.
 */
#ifdef __AVX512BF16__
#define TILE_WIDE(MR, NV)                                                                                                                     \
    static void wide_tile_##MR##_##NV(const uint32_t *a, long am, long ak, const uint32_t *b, long bk, float *c, long cm, long k, int how) {  \
        tile(a, am, ak, b, bk, c, cm, k, how, MR, NV, 1);                                                                                     \
    }
#define TILES_WIDE(MR) TILE_WIDE(MR, 1) TILE_WIDE(MR, 2) TILE_WIDE(MR, 3) TILE_WIDE(MR, 4)
TILES_WIDE(1)
TILES_WIDE(2)
TILES_WIDE(3)
TILES_WIDE(4)
TILES_WIDE(5)
TILES_WIDE(6)
#define LINE_WIDE(MR) {wide_tile_##MR##_1, wide_tile_##MR##_2, wide_tile_##MR##_3, wide_tile_##MR##_4}
static const Tile WIDE_TILE_OF[ROWS][4] = {LINE_WIDE(1), LINE_WIDE(2), LINE_WIDE(3), LINE_WIDE(4), LINE_WIDE(5), LINE_WIDE(6)};

/* c (m, n) = a (m, k words) times b (k, n), n a multiple of 16; columns stand in panels `panel` words apart, or, where
 * that is 0, as rows of b. */
static void times(int wide, const uint32_t *a, long am, const uint32_t *b, long bk, long panel, float *c, long cm, long m, long n, long k, int how) {
    const Tile(*tiles)[4] = wide ? WIDE_TILE_OF : TILE_OF;
    for (long j = 0; j < n; j += COLUMNS)
        for (long i = 0; i < m; i += ROWS)
            tiles[least(ROWS, m - i) - 1][least(COLUMNS, n - j) / 16 - 1](a + i * am, am, 1, panel ? b + j / COLUMNS * panel : b + j, bk, c + i * cm + j, cm,
                                                                          k, how);
}

/* w (out, in) float32 -> panels for `times`: to[panel][k][COLUMNS]. */
void pack_weight(const float *w, int wide, long in, long out, uint32_t *to) {
    long k = wide ? in : in / 2;
    for (long c = 0; c < out; c += COLUMNS, to += COLUMNS * k)
        for (long i = 0; i < least(COLUMNS, out - c); i += 16)
            for (long j = 0; j < k; j++) {
                const float *from = w + (c + i) * in + (wide ? j : 2 * j);
                uint32_t *word = to + j * COLUMNS + i;
                for (long r = 0; r < 16; r++, from += in) {
                    if (wide) memcpy(word + r, from, 4);
                    else word[r] = (uint32_t)down(from[0]) | (uint32_t)down(from[1]) << 16;
                }
            }
}

/* exp to a relative 2e-7 for small |x|; 0 far below. */
static inline __m512 exp_fine(__m512 x) {
    /* In this order a not-a-number stays one. */
    x = _mm512_max_ps(_mm512_set1_ps(-126.0f), x);
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-6f), r);
    __m512 p = _mm512_set1_ps(1.98412698e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.38888889e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.33333333e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.16666667e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.66666667e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static inline __mmask16 first(long n) { return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1u); }

/* to = words of a row of d floats. */
static inline void as_words(int wide, const float *x, long d, void *to) {
    if (wide) memcpy(to, x, (size_t)d * 4);
    else narrow_row(x, d, to);
}

static void norm_rows(int wide, const float *x, const float *w, char *to, long n, long d, float eps) {
    for (long i = 0; i < n; i++, x += d, to += d * (wide ? 4 : 2)) {
        __m512 sum = _mm512_setzero_ps();
        for (long j = 0; j < d; j += 16) sum = _mm512_fmadd_ps(_mm512_loadu_ps(x + j), _mm512_loadu_ps(x + j), sum);
        __m512 r = _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(sum) / (float)d + eps));
        for (long j = 0; j < d; j += 16) {
            __m512 y = _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(x + j), r), _mm512_loadu_ps(w + j));
            if (wide) _mm512_storeu_ps((float *)to + j, y);
            else _mm256_storeu_si256((__m256i *)((bf16 *)to + j), narrow(y));
        }
    }
}

/* A head of d floats in place: normed where w is given, turned by the angles of its position. */
static void turn_head(float *x, const float *w, const float *cosine, const float *sine, long d, float eps) {
    if (w) {
        float sum = 0.0f;
        for (long j = 0; j < d; j++) sum += x[j] * x[j];
        float r = 1.0f / sqrtf(sum / (float)d + eps);
        for (long j = 0; j < d; j++) x[j] = x[j] * r * w[j];
    }
    long half = d / 2;
    for (long j = 0; j < half; j++) {
        float a = x[j], b = x[half + j];
        x[j] = a * cosine[j] - b * sine[j];
        x[half + j] = b * cosine[half + j] + a * sine[half + j];
    }
}

/* gate and value side by side (n, 2 d) -> words of silu(gate) * value. */
static void silu_rows(int wide, const float *both, char *to, long n, long d) {
    __m512 one = _mm512_set1_ps(1.0f);
    for (long i = 0; i < n; i++, both += 2 * d, to += d * (wide ? 4 : 2))
        for (long j = 0; j < d; j += 16) {
            __m512 g = _mm512_loadu_ps(both + j);
            __m512 y = _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(one, exp_fine(_mm512_sub_ps(_mm512_setzero_ps(), g)))), _mm512_loadu_ps(both + d + j));
            if (wide) _mm512_storeu_ps((float *)to + j, y);
            else _mm256_storeu_si256((__m256i *)((bf16 *)to + j), narrow(y));
        }
}

enum { AT_NORM, AT_QKV, AT_QNORM, AT_KNORM, AT_O, AT_NORM2, AT_GATED, AT_DOWN, AT_LAYER };

typedef struct {
    long layers, hidden, heads, kv, d, inner, vocab, wide, places;
    float eps, scale;
} Shape;

/* What a token adds to its row's slot: keys as a column, values as a row (of pairs). */
static void append(const Shape *s, const float *k, const float *v, uint32_t *keys, uint32_t *values, long at) {
    if (s->wide) {
        for (long c = 0; c < s->d; c++) memcpy(keys + c * s->places + at, k + c, 4);
        memcpy(values + at * s->d, v, (size_t)s->d * 4);
        return;
    }
    for (long c = 0; c < s->d / 2; c++) keys[c * s->places + at] = (uint32_t)down(k[2 * c]) | (uint32_t)down(k[2 * c + 1]) << 16;
    uint32_t *pair = values + at / 2 * s->d;
    for (long c = 0; c < s->d; c++) pair[c] = at % 2 ? (pair[c] & 0xffffu) | (uint32_t)down(v[c]) << 16 : down(v[c]);
}

/* softmax(scale * row) over two runs [0, n) and [np, np + own) in place, not divided yet; the sum. Past the runs, up to
 * whole registers, it is 0. */
static float soften_row(int wide, float *row, long n, long np, long own, long ownp, float scale) {
    const long from[2] = {0, np}, count[2] = {n, own}, end[2] = {np, ownp};
    __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int run = 0; run < 2; run++)
        for (long x = 0; x < count[run]; x += 16) top = _mm512_mask_max_ps(top, first(count[run] - x), top, _mm512_loadu_ps(row + from[run] + x));
    __m512 factor = _mm512_set1_ps(scale), highest = _mm512_set1_ps(_mm512_reduce_max_ps(top) * scale);
    for (int run = 0; run < 2; run++)
        for (long x = 0; x < end[run]; x += 16) {
            float *at = row + from[run] + x;
            __m512 e = x < count[run] ? exp_fine(_mm512_fmsub_ps(_mm512_loadu_ps(at), factor, highest)) : _mm512_setzero_ps();
            e = _mm512_maskz_mov_ps(x < count[run] ? first(count[run] - x) : 0, e);
            sum = _mm512_add_ps(sum, e);
            if (wide) _mm512_storeu_ps(at, e);
            /* Pairs stand at the front of their run: what they replace has been read. */
            else _mm256_storeu_si256((__m256i *)((bf16 *)(row + from[run]) + x), narrow(e));
        }
    return _mm512_reduce_add_ps(sum);
}

enum { TOGETHER = 16 };

/* Rows of one prompt: q (row, heads, d words) -> out (row, heads, d words). */
static void attend(const Shape *s, const char *q, const uint32_t *prompt, long length, const int64_t *rows, long count, uint32_t *const *slots, const long *own,
                   char *out, float *scores, long stride, uint32_t *queries, float *sums) {
    long rep = s->heads / s->kv, dw = s->wide ? s->d : s->d / 2, size = s->wide ? 4 : 2, np = (length + 15) & ~15L, m = count * rep;
    for (long h = 0; h < s->kv; h++) {
        const uint32_t *keys = prompt + h * 2 * dw * np, *values = keys + dw * np;
        for (long i = 0; i < count; i++)
            memcpy(queries + i * rep * dw, q + (rows[i] * s->heads + h * rep) * s->d * size, (size_t)(rep * s->d * size));
        times(s->wide, queries, dw, keys, np, 0, scores, stride, m, np, dw, WRITE);
        for (long i = 0; i < count; i++) {
            const uint32_t *mine = slots[rows[i]] + h * 2 * dw * s->places;
            long n = own[rows[i]] + 1, whole = (n + 15) & ~15L;
            times(s->wide, queries + i * rep * dw, dw, mine, s->places, 0, scores + i * rep * stride + np, stride, rep, whole, dw, WRITE);
            for (long r = 0; r < rep; r++) {
                float *row = scores + (i * rep + r) * stride;
                sums[i * rep + r] = soften_row(s->wide, row, length, np, n, whole, s->scale);
            }
        }
        float *gathered = (float *)queries;
        times(s->wide, (uint32_t *)scores, stride, values, s->d, 0, gathered, s->d, m, s->d, s->wide ? np : np / 2, WRITE);
        for (long i = 0; i < count; i++) {
            const uint32_t *mine = slots[rows[i]] + h * 2 * dw * s->places + dw * s->places;
            long whole = (own[rows[i]] + 16) & ~15L;
            float *o = gathered + i * rep * s->d;
            times(s->wide, (uint32_t *)(scores + i * rep * stride + np), stride, mine, s->d, 0, o, s->d, rep, s->d, s->wide ? whole : whole / 2, ADD);
            for (long r = 0; r < rep; r++, o += s->d) {
                float share = 1.0f / sums[i * rep + r];
                for (long c = 0; c < s->d; c++) o[c] *= share;
                as_words(s->wide, o, s->d, out + (rows[i] * s->heads + h * rep + r) * s->d * size);
            }
        }
    }
}

/* n tokens of one prompt, the first at place `from`: each sees those up to itself; q (n, heads, d words) -> out in its
 * place. */
static void attend_prompt(const Shape *s, char *q, const uint32_t *state, long from, long n, float *scores, long stride, uint32_t *queries, float *sums) {
    long rep = s->heads / s->kv, dw = s->wide ? s->d : s->d / 2, size = s->wide ? 4 : 2, step = TOGETHER;
    for (long h = 0; h < s->kv; h++) {
        const uint32_t *keys = state + h * 2 * dw * s->places, *values = keys + dw * s->places;
        for (long begun = 0; begun < n; begun += step) {
            long count = least(step, n - begun), whole = (from + begun + count + 15) & ~15L;
            for (long i = 0; i < count; i++)
                memcpy(queries + i * rep * dw, q + ((begun + i) * s->heads + h * rep) * s->d * size, (size_t)(rep * s->d * size));
            times(s->wide, queries, dw, keys, s->places, 0, scores, stride, count * rep, whole, dw, WRITE);
            float *gathered = (float *)queries;
            for (long i = 0; i < count * rep; i++)
                sums[i] = soften_row(s->wide, scores + i * stride, from + begun + i / rep + 1, whole, 0, 0, s->scale);
            times(s->wide, (uint32_t *)scores, stride, values, s->d, 0, gathered, s->d, count * rep, s->d, s->wide ? whole : whole / 2, WRITE);
            for (long i = 0; i < count; i++)
                for (long r = 0; r < rep; r++) {
                    float *o = gathered + (i * rep + r) * s->d, share = 1.0f / sums[i * rep + r];
                    for (long c = 0; c < s->d; c++) o[c] *= share;
                    as_words(s->wide, o, s->d, q + ((begun + i) * s->heads + h * rep + r) * s->d * size);
                }
        }
    }
}

/* Bytes of scratch memory `decode_step` needs for so many rows and places in all. */
long decode_scratch(const int64_t *shape, long rows, long longest) {
    long hidden = shape[1], heads = shape[2], kv = shape[3], d = shape[4], inner = shape[5];
    long wide_row = most((heads + 2 * kv) * d, 2 * inner), word_row = most(most(hidden, heads * d), inner), m = TOGETHER * (heads / kv);
    return 4 * (rows * (hidden + wide_row + word_row) + m * (longest + 48) + m * (d + 1)) + 16 * rows * 4 + 16 * 64;
}

/* Without `slot`, the rows are tokens of one prompt, one after another, whose state stands at prompt[0] with `places` of
 * the shape; only the last one's logits are written. With it, the next token of each row:
 *
 * shape: as in Shape; table: (layers, AT_LAYER) addresses, then embedding, final norm, head; cosine, sine: (positions, d).
 * tokens, positions, slot, prompt, length: (rows) of each row: its token, the token's position, the address of its slot
 * in the first layer, that of its prompt and its length. A layer's slot is `slot_step` words after that of the one
 * before. logits: (rows, vocab). longest: most places any row sees, in whole registers. */
int decode_step(const int64_t *shape, float eps, float scale, const int64_t *table, const float *cosine, const float *sine, const int64_t *tokens,
                const int64_t *positions, const int64_t *slot, const int64_t *prompt, const int64_t *length, float *logits, char *scratch, long slot_step,
                long longest, long n) {
    Shape s = {shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7], shape[8], eps, scale};
    long q = s.heads * s.d, kv = s.kv * s.d, size = s.wide ? 4 : 2, dw = s.wide ? s.d : s.d / 2, m = TOGETHER * (s.heads / s.kv);
    char *at = scratch;
    float *x = room(&at, n * s.hidden * 4), *y = room(&at, n * most(q + 2 * kv, 2 * s.inner) * 4);
    char *words_of = room(&at, n * most(most(s.hidden, q), s.inner) * 4);
    float *scores = room(&at, m * (longest + 48) * 4), *sums = room(&at, m * 4);
    uint32_t *queries = room(&at, m * s.d * 4), **slots = room(&at, n * 8);
    long *own = room(&at, n * 8);
    int64_t *order = room(&at, n * 8), *ends = room(&at, n * 8);
    long groups = 0, placed = 0, width = longest + 48;
    const int64_t *last = table + s.layers * AT_LAYER;
    for (long i = 0; i < n; i++) {
        memcpy(x + i * s.hidden, (const float *)last[0] + tokens[i] * s.hidden, (size_t)s.hidden * 4);
        own[i] = slot ? positions[i] - length[i] : positions[i];
        slots[i] = (uint32_t *)(slot ? slot[i] : prompt[0]);
    }
    /* Rows of one prompt stand together in `order`, at most TOGETHER of them; `ends` says where each lot ends. */
    for (long i = 0; slot && i < n; i++) {
        long begun = placed, known = 0;
        for (long j = 0; j < i && !known; j++) known = prompt[j] == prompt[i];
        if (known) continue;
        for (long j = i; j < n; j++) {
            if (prompt[j] != prompt[i]) continue;
            if (placed - begun == TOGETHER) ends[groups++] = begun = placed;
            order[placed++] = j;
        }
        ends[groups++] = placed;
    }
    for (long l = 0; l < s.layers; l++, table += AT_LAYER) {
        norm_rows(s.wide, x, (const float *)table[AT_NORM], words_of, n, s.hidden, eps);
        long k = s.wide ? s.hidden : s.hidden / 2;
        times(s.wide, (uint32_t *)words_of, k, (const uint32_t *)table[AT_QKV], COLUMNS, k * COLUMNS, y, q + 2 * kv, n, q + 2 * kv, k, WRITE);
        for (long i = 0; i < n; i++) {
            float *row = y + i * (q + 2 * kv);
            const float *c = cosine + positions[i] * s.d, *e = sine + positions[i] * s.d;
            for (long h = 0; h < s.heads; h++) turn_head(row + h * s.d, (const float *)table[AT_QNORM], c, e, s.d, eps);
            as_words(s.wide, row, q, words_of + i * q * size);
            for (long h = 0; h < s.kv; h++) {
                float *key = row + q + h * s.d;
                uint32_t *keys = slots[i] + h * 2 * dw * s.places;
                turn_head(key, (const float *)table[AT_KNORM], c, e, s.d, eps);
                append(&s, key, key + kv, keys, keys + dw * s.places, own[i]);
            }
        }
        if (!slot) attend_prompt(&s, words_of, slots[0], own[0], n, scores, width, queries, sums);
        /* The attended heads take the place of the queries: each lot has copied its own before it writes. */
        for (long g = 0, begun = 0; g < groups; begun = ends[g++]) {
            long i = order[begun], np = (length[i] + 15) & ~15L;
            const uint32_t *state = (const uint32_t *)prompt[i] + l * s.kv * 2 * dw * np;
            attend(&s, words_of, state, length[i], order + begun, ends[g] - begun, slots, own, words_of, scores, width, queries, sums);
        }
        k = s.wide ? q : q / 2;
        times(s.wide, (uint32_t *)words_of, k, (const uint32_t *)table[AT_O], COLUMNS, k * COLUMNS, x, s.hidden, n, s.hidden, k, ADD);
        norm_rows(s.wide, x, (const float *)table[AT_NORM2], words_of, n, s.hidden, eps);
        k = s.wide ? s.hidden : s.hidden / 2;
        times(s.wide, (uint32_t *)words_of, k, (const uint32_t *)table[AT_GATED], COLUMNS, k * COLUMNS, y, 2 * s.inner, n, 2 * s.inner, k, WRITE);
        silu_rows(s.wide, y, words_of, n, s.inner);
        k = s.wide ? s.inner : s.inner / 2;
        times(s.wide, (uint32_t *)words_of, k, (const uint32_t *)table[AT_DOWN], COLUMNS, k * COLUMNS, x, s.hidden, n, s.hidden, k, ADD);
        for (long i = 0; i < n; i++) slots[i] += slot_step;
    }
    long k = s.wide ? s.hidden : s.hidden / 2;
    if (!slot) x += (n - 1) * s.hidden, n = 1;
    norm_rows(s.wide, x, (const float *)last[1], words_of, n, s.hidden, eps);
    times(s.wide, (uint32_t *)words_of, k, (const uint32_t *)last[2], COLUMNS, k * COLUMNS, logits, s.vocab, n, s.vocab, k, WRITE);
    return 0;
}
#endif
