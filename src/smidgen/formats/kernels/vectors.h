// Vectors of W floats and of W words: AVX-512, AVX2, or plain loops that compilers make vectors of.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__F16C__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__) && defined(__AVX512BW__)
constexpr int W = 16;
using F = __m512;
using I = __m512i;
inline F zero() { return _mm512_setzero_ps(); }
inline F load(const float *p) { return _mm512_loadu_ps(p); }
inline I load_words(const void *p) { return _mm512_loadu_si512(p); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline float sum(F a) { return _mm512_reduce_add_ps(a); }
inline F pick(F a, I at) { return _mm512_permutexvar_ps(at, a); }
template <int N> inline I right(I a) { return N ? _mm512_srli_epi32(a, N) : a; }
template <int BITS, int FROM> inline F signed_bits(I a) {
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(a, 32 - BITS - FROM), 32 - BITS));
}
inline I flip(I a, uint32_t bits) { return _mm512_xor_si512(a, _mm512_set1_epi32(int(bits))); }
inline I load_strided(const uint8_t *p, int stride) {
    const I lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_i32gather_epi32(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(stride)), p, 1);
}
struct Table {
    F all;
    explicit Table(const float *v) : all(load(v)) {}
    F operator()(I at) const { return _mm512_permutexvar_ps(at, all); }
};
inline I load_threes(const uint8_t *p) {
    const I spread = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const I threes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(spread, _mm512_maskz_loadu_epi32(0xFFF, p)), threes);
}
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int W = 8;
using F = __m256;
using I = __m256i;
inline F zero() { return _mm256_setzero_ps(); }
inline F load(const float *p) { return _mm256_loadu_ps(p); }
inline I load_words(const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline float sum(F a) {
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}
inline F pick(F a, I at) { return _mm256_permutevar8x32_ps(a, at); }
template <int N> inline I right(I a) { return N ? _mm256_srli_epi32(a, N) : a; }
template <int BITS, int FROM> inline F signed_bits(I a) {
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(a, 32 - BITS - FROM), 32 - BITS));
}
inline I flip(I a, uint32_t bits) { return _mm256_xor_si256(a, _mm256_set1_epi32(int(bits))); }
inline I load_strided(const uint8_t *p, int stride) {
    const I lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const I at = _mm256_mullo_epi32(lanes, _mm256_set1_epi32(stride));
    return _mm256_i32gather_epi32(reinterpret_cast<const int *>(p), at, 1);
}
struct Table {
    F low, high;
    explicit Table(const float *v) : low(load(v)), high(load(v + 8)) {}
    F operator()(I at) const {  // bit 3 chooses the half
        const F upper = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));
        return _mm256_blendv_ps(pick(low, at), pick(high, at), upper);
    }
};
inline I load_threes(const uint8_t *p) {
    const __m128i first = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    const __m128i last = _mm_setr_epi8(4, 5, 6, -1, 7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p + 8));
    return _mm256_set_m128i(_mm_shuffle_epi8(b, last), _mm_shuffle_epi8(a, first));
}
#else
constexpr int W = 8;
struct F {
    float v[W];
};
struct I {
    uint32_t v[W];
};
#define EACH for (int i = 0; i < W; ++i)
inline F zero() { return F{}; }
inline F load(const float *p) {
    F a;
    std::memcpy(a.v, p, sizeof a.v);
    return a;
}
inline I load_words(const void *p) {
    I a;
    std::memcpy(a.v, p, sizeof a.v);
    return a;
}
inline F fma(F a, F b, F c) {
    EACH c.v[i] += a.v[i] * b.v[i];
    return c;
}
inline float sum(F a) {
    float s = 0;
    EACH s += a.v[i];
    return s;
}
inline F pick(F a, I at) {
    F out;
    EACH out.v[i] = a.v[at.v[i] % W];
    return out;
}
template <int N> inline I right(I a) {
    EACH a.v[i] >>= N;
    return a;
}
template <int BITS, int FROM> inline F signed_bits(I a) {
    F out;
    EACH out.v[i] = float(int32_t(a.v[i] << (32 - BITS - FROM)) >> (32 - BITS));
    return out;
}
inline I flip(I a, uint32_t bits) {
    EACH a.v[i] ^= bits;
    return a;
}
inline I load_strided(const uint8_t *p, int stride) {
    I a;
    EACH std::memcpy(a.v + i, p + i * stride, 4);
    return a;
}
struct Table {
    float all[16];
    explicit Table(const float *v) { std::memcpy(all, v, sizeof all); }
    F operator()(I at) const {
        F out;
        EACH out.v[i] = all[at.v[i] & 15];
        return out;
    }
};
inline I load_threes(const uint8_t *p) {
    I a;
    EACH a.v[i] = p[3 * i] | uint32_t(p[3 * i + 1]) << 8 | uint32_t(p[3 * i + 2]) << 16;
    return a;
}
#endif

}  // namespace
