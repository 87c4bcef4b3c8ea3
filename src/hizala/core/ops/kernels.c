/* Elementwise passes over bfloat16 activations, one read and one rounding each, sums in float32.
 *
 * Plain C that a compiler vectorises; every function has a twin in PyTorch that is used where no compiler is at hand.
 * Not-a-numbers stay what they are: nothing here assumes finite values.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float up(bf16 b) {
    uint32_t u = (uint32_t)b << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* Round to nearest, ties to even; a not-a-number keeps its upper half and stays one. */
static inline bf16 down(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    uint32_t quiet = (u >> 16) | 0x40u;
    return (bf16)((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

/* exp to a relative 5e-6 for x <= 80; exactly 0 below -80. 2^(n + r), |r| <= 1/2, the power of r by a polynomial. */
static inline float fast_exp(float x) {
    float n = rintf(x * 1.44269504f);
    float r = x * 1.44269504f - n;
    float p = 1.339086735e-3f;
    p = p * r + 9.666373693e-3f;
    p = p * r + 5.550357104e-2f;
    p = p * r + 2.402234894e-1f;
    p = p * r + 6.931471880e-1f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &p, 4);
    bits += (int32_t)n << 23;
    memcpy(&p, &bits, 4);
    return x < -80.0f ? 0.0f : p;
}

static inline float sigmoid(float x) {
    return 1.0f / (1.0f + fast_exp(x < -60.0f ? 60.0f : -x));
}

static float inverse_rms(const bf16 *restrict x, long d, float eps) {
    float sum = 0.0f;
    for (long j = 0; j < d; j++) sum += up(x[j]) * up(x[j]);
    return 1.0f / sqrtf(sum / (float)d + eps);
}

/* y = x * rstd * w over rows of d. */
void rms_norm(const bf16 *restrict x, const float *restrict w, bf16 *restrict y, float *restrict rstd, long rows, long d, float eps) {
    for (long i = 0; i < rows; i++, x += d, y += d) {
        float r = rstd[i] = inverse_rms(x, d, eps);
        for (long j = 0; j < d; j++) y[j] = down(up(x[j]) * r * w[j]);
    }
}

/* dx = rstd * (g w - unit * mean(g w unit)); dw += g unit, with unit = x * rstd. */
static void rms_row(const bf16 *restrict x, const float *restrict w, const float *restrict g, bf16 *restrict dx, float *restrict dw, long d, float r) {
    float dot = 0.0f;
    for (long j = 0; j < d; j++) dot += g[j] * w[j] * up(x[j]);
    float shrink = dot * r * r / (float)d;
    for (long j = 0; j < d; j++) {
        float value = up(x[j]);
        dw[j] += g[j] * value * r;
        dx[j] = down(r * (g[j] * w[j] - value * shrink));
    }
}

void rms_norm_backward(const bf16 *restrict x, const float *restrict w, const float *restrict rstd, const bf16 *restrict dy, bf16 *restrict dx, float *restrict dw,
                       float *restrict row, long rows, long d) {
    for (long i = 0; i < rows; i++, x += d, dy += d, dx += d) {
        for (long j = 0; j < d; j++) row[j] = up(dy[j]);
        rms_row(x, w, row, dx, dw, d, rstd[i]);
    }
}

/* Heads (n, heads, d), rows of x `stride` apart: normed by w (none where w is null) and turned by (n, d) angles. */
void turn_heads(const bf16 *restrict x, long stride, const float *restrict w, const bf16 *restrict cosine, const bf16 *restrict sine, bf16 *restrict y,
                float *restrict rstd, long n, long heads, long d, float eps) {
    long half = d / 2;
    for (long i = 0; i < n; i++, cosine += d, sine += d) {
        for (long h = 0; h < heads; h++, y += d) {
            const bf16 *a = x + i * stride + h * d, *b = a + half;
            float r = 1.0f;
            if (w) r = rstd[i * heads + h] = inverse_rms(a, d, eps);
            for (long j = 0; j < half; j++) {
                float left = up(a[j]) * r * (w ? w[j] : 1.0f), right = up(b[j]) * r * (w ? w[half + j] : 1.0f);
                float c = up(cosine[j]), s = up(sine[j]);
                y[j] = down(left * c - right * s);
                y[half + j] = down(right * c + left * s);
            }
        }
    }
}

void turn_heads_backward(const bf16 *restrict x, long stride, const float *restrict w, const bf16 *restrict cosine, const bf16 *restrict sine,
                         const float *restrict rstd, const bf16 *restrict dy, bf16 *restrict dx, float *restrict dw, float *restrict row, long n, long heads,
                         long d) {
    long half = d / 2;
    for (long i = 0; i < n; i++, cosine += d, sine += d) {
        for (long h = 0; h < heads; h++, dy += d, dx += d) {
            for (long j = 0; j < half; j++) {
                float left = up(dy[j]), right = up(dy[half + j]), c = up(cosine[j]), s = up(sine[j]);
                row[j] = left * c + right * s;
                row[half + j] = right * c - left * s;
            }
            if (w) {
                rms_row(x + i * stride + h * d, w, row, dx, dw, d, rstd[i * heads + h]);
            } else {
                for (long j = 0; j < d; j++) dx[j] = down(row[j]);
            }
        }
    }
}

/* y = gate * sigmoid(gate) * up; rows `stride` apart in gate and up. */
void silu_gated(const bf16 *restrict gate, const bf16 *restrict value, long stride, bf16 *restrict y, long n, long d) {
    for (long i = 0; i < n; i++, gate += stride, value += stride, y += d)
        for (long j = 0; j < d; j++) {
            float g = up(gate[j]);
            y[j] = down(g * sigmoid(g) * up(value[j]));
        }
}

void silu_gated_backward(const bf16 *restrict gate, const bf16 *restrict value, long stride, const bf16 *restrict dy, bf16 *restrict dgate, bf16 *restrict dvalue,
                         long out_stride, long n, long d) {
    for (long i = 0; i < n; i++) {
        for (long j = 0; j < d; j++) {
            float g = up(gate[j]), s = sigmoid(g), t = up(dy[j]);
            dvalue[j] = down(t * g * s);
            dgate[j] = down(t * up(value[j]) * s * (1.0f + g * (1.0f - s)));
        }
        gate += stride, value += stride, dy += d, dgate += out_stride, dvalue += out_stride;
    }
}

/* s = softmax(scale * s + bias) in place; the bias of row i is row i % bias_rows. */
void softmax(bf16 *restrict s, const bf16 *restrict bias, float *restrict row, long rows, long bias_rows, long d, float scale) {
    for (long i = 0; i < rows; i++, s += d) {
        const bf16 *b = bias + (i % bias_rows) * d;
        float top = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : top)
        for (long j = 0; j < d; j++) {
            row[j] = up(s[j]) * scale + up(b[j]);
            top = row[j] > top ? row[j] : top;
        }
        for (long j = 0; j < d; j++) {
            row[j] = fast_exp(row[j] - top);
            sum += row[j];
        }
        float share = 1.0f / sum;
        for (long j = 0; j < d; j++) s[j] = down(row[j] * share);
    }
}

/* g = scale * p * (g - sum(p g)) in place. */
void softmax_backward(bf16 *restrict g, const bf16 *restrict p, long rows, long d, float scale) {
    for (long i = 0; i < rows; i++, g += d, p += d) {
        float dot = 0.0f;
        for (long j = 0; j < d; j++) dot += up(g[j]) * up(p[j]);
        for (long j = 0; j < d; j++) g[j] = down(scale * up(p[j]) * (up(g[j]) - dot));
    }
}

/* lse of rows of logits; where p is not null, the logits' softmax too, and where mean is not, their mean under it. */
void log_sum_exp(const bf16 *restrict logits, float *restrict lse, bf16 *restrict p, float *restrict mean, float *restrict row, long rows, long d) {
    for (long i = 0; i < rows; i++, logits += d) {
        float top = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : top)
        for (long j = 0; j < d; j++) {
            float value = up(logits[j]);
            top = value > top ? value : top;
        }
        for (long j = 0; j < d; j++) {
            row[j] = fast_exp(up(logits[j]) - top);
            sum += row[j];
        }
        lse[i] = top + logf(sum);
        if (mean) {
            float dot = 0.0f;
            for (long j = 0; j < d; j++) dot += row[j] * up(logits[j]);
            mean[i] = dot / sum;
        }
        if (p) {
            float share = 1.0f / sum;
            for (long j = 0; j < d; j++) p[j] = down(row[j] * share);
            p += d;
        }
    }
}
