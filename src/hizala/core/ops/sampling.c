/* Next-token distributions over rows of float32 logits: where they are cut, their softmax, a token drawn. Sums of many
 * numbers are in double. */
#ifdef __AVX512BF16__
/* Logits in an order of unsigned integers. */
static inline uint32_t ordered(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    /* The two zeros are equal. */
    return u > 0x80000000u ? ~u : u | 0x80000000u;
}

/* Where rows of logits are cut: the likeliest that hold `share` of what is not below floor[i], which becomes the smallest
 * logit kept; last: the column up to which those equal to it are. By digits of the logits, highest first: `room_for` has
 * place for d weights, d columns and the 2048 sums of a digit. */
void nucleus(const float *logits, float *floors, int64_t *last, const double *share, void *room_for, long rows, long d) {
    enum { DIGITS = 2048 };
    double *mass = room_for;
    float *weights = (float *)(mass + DIGITS);
    int32_t *columns = (int32_t *)(weights + d);
    for (long i = 0; i < rows; i++, logits += d) {
        __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps(), low = _mm512_set1_ps(floors[i]);
        for (long j = 0; j < d; j += 16) top = _mm512_mask_max_ps(top, first(d - j), top, _mm512_maskz_loadu_ps(first(d - j), logits + j));
        __m512 highest = _mm512_set1_ps(_mm512_reduce_max_ps(top));
        double total = 0.0, before = 0.0;
        for (long j = 0; j < d; j += 16) {
            __m512 z = _mm512_maskz_loadu_ps(first(d - j), logits + j);
            __mmask16 in = _mm512_cmp_ps_mask(z, low, _CMP_GE_OQ) & first(d - j);
            __m512 e = _mm512_maskz_mov_ps(in, exp_fine(_mm512_sub_ps(z, highest)));
            _mm512_mask_storeu_ps(weights + j, first(d - j), e);
            sum = _mm512_add_ps(sum, e);
            if (j % 256 == 240 || j + 16 >= d) total += (double)_mm512_reduce_add_ps(sum), sum = _mm512_setzero_ps();
        }
        double wanted = *share * total;
        long count = d;
        uint32_t prefix = 0;
        for (int shift = 21; shift >= -1; shift -= 11) {
            int right = shift < 0 ? 0 : shift;
            uint32_t size = shift < 0 ? 1024 : DIGITS;
            memset(mass, 0, DIGITS * sizeof *mass);
            for (long c = 0; c < count; c++) {
                long j = shift == 21 ? c : columns[c];
                mass[ordered(logits[j]) >> right & (size - 1)] += (double)weights[j];
            }
            /* Rounding may leave the sum short of what is wanted: then the lowest digit is the one. */
            long found = -1;
            for (long digit = size - 1; digit >= 0; digit--) {
                if (mass[digit] == 0.0) continue;
                if (found >= 0) before += mass[found];
                found = digit;
                if (before + mass[digit] >= wanted) break;
            }
            prefix = prefix << (shift < 0 ? 10 : 11) | (uint32_t)found;
            long kept = 0;
            for (long c = 0; c < count; c++) {
                long j = shift == 21 ? c : columns[c];
                if (ordered(logits[j]) >> right == prefix && weights[j] > 0.0f) columns[kept++] = (int32_t)j;
            }
            count = kept;
        }
        last[i] = d - 1;
        if (count == 0) continue; /* Not a number: nothing is below or above it. */
        floors[i] = logits[columns[0]];
        for (long c = 0; c < count; c++, before += (double)weights[columns[0]])
            if (before >= wanted && c) {
                last[i] = columns[c - 1];
                break;
            }
    }
}

enum { LOT = 256 };

/* A token a row by inverting the cumulative distribution of softmax(logits / temperature), and its log-prob. */
void draw_tokens(const float *logits, const double *uniforms, float temperature, int64_t *tokens, float *logps, double *before, long rows, long d) {
    __m512 divisor = _mm512_set1_ps(temperature);
    for (long i = 0; i < rows; i++, logits += d) {
        __m512 top = _mm512_set1_ps(-INFINITY);
        for (long j = 0; j < d; j += 16) top = _mm512_mask_max_ps(top, first(d - j), top, _mm512_maskz_loadu_ps(first(d - j), logits + j));
        __m512 highest = _mm512_set1_ps(_mm512_reduce_max_ps(top));
        double total = 0.0;
        for (long j = 0, lot = 0; j < d; j += LOT, lot++) {
            __m512 sum = _mm512_setzero_ps();
            for (long x = j; x < least(j + LOT, d); x += 16) {
                __m512 z = _mm512_div_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(first(d - x), logits + x), highest), divisor);
                sum = _mm512_add_ps(sum, _mm512_maskz_mov_ps(first(d - x), exp_fine(z)));
            }
            before[lot] = total;
            total += (double)_mm512_reduce_add_ps(sum);
        }
        double point = uniforms[i] * total, held;
        long lot = (d - 1) / LOT, token = -1;
        while (lot > 0 && (before[lot] > point || before[lot] >= total)) lot--;
        held = before[lot];
        float weights[16];
        for (long x = lot * LOT; x < least(lot * LOT + LOT, d) && (token < 0 || held <= point); x += 16) {
            __m512 z = _mm512_div_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(first(d - x), logits + x), highest), divisor);
            _mm512_storeu_ps(weights, _mm512_maskz_mov_ps(first(d - x), exp_fine(z)));
            for (long r = 0; r < least(16, d - x) && (token < 0 || held <= point); r++)
                if (weights[r] > 0.0f) token = x + r, held += (double)weights[r];
        }
        tokens[i] = token < 0 ? 0 : token;
        logps[i] = (logits[tokens[i]] - _mm512_cvtss_f32(highest)) / temperature - (float)log(total);
    }
}

/* Softmax over what is kept of each row: logits above floor[i], those equal to it up to column last[i], and the target.
 * lse; where mean is not null, the mean of the kept logits under it; where q is not null, the softmax itself (rows, d). */
void softmax_kept(const float *logits, const float *floors, const int64_t *last, const int64_t *target, float *lse, float *mean, float *q, long rows, long d) {
    const __m512i steps = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (long i = 0; i < rows; i++, logits += d) {
        __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps(), dot = _mm512_setzero_ps(), low = _mm512_set1_ps(floors[i]);
        for (long j = 0; j < d; j += 16) top = _mm512_mask_max_ps(top, first(d - j), top, _mm512_maskz_loadu_ps(first(d - j), logits + j));
        float highest = _mm512_reduce_max_ps(top), aim = logits[target[i]];
        double total = 0.0, weighted = 0.0;
        __m512i bound = _mm512_set1_epi32((int)last[i]);
        for (long j = 0; j < d; j += 16) {
            __mmask16 there = first(d - j);
            __m512 z = _mm512_maskz_loadu_ps(there, logits + j);
            __mmask16 level = _mm512_cmp_ps_mask(z, low, _CMP_EQ_OQ) & _mm512_cmple_epi32_mask(_mm512_add_epi32(steps, _mm512_set1_epi32((int)j)), bound);
            __mmask16 kept = there & (_mm512_cmp_ps_mask(z, low, _CMP_NLE_UQ) | level);
            __m512 e = _mm512_maskz_mov_ps(kept, exp_fine(_mm512_sub_ps(z, _mm512_set1_ps(highest))));
            sum = _mm512_add_ps(sum, e);
            dot = _mm512_mask3_fmadd_ps(e, z, dot, kept);
            if (q) _mm512_mask_storeu_ps(q + j, there, e);
            if (j % 256 == 240 || j + 16 >= d) {
                total += (double)_mm512_reduce_add_ps(sum), weighted += (double)_mm512_reduce_add_ps(dot);
                sum = dot = _mm512_setzero_ps();
            }
        }
        if (aim < floors[i] || (aim == floors[i] && target[i] > last[i])) {
            float e = _mm512_cvtss_f32(exp_fine(_mm512_set1_ps(aim - highest)));
            total += (double)e, weighted += (double)e * (double)aim;
            if (q) q[target[i]] = e;
        }
        lse[i] = highest + (float)log(total);
        if (mean) mean[i] = (float)(weighted / total);
        if (q) {
            float share = (float)(1.0 / total);
            for (long j = 0; j < d; j++) q[j] *= share;
            q += d;
        }
    }
}
#endif
