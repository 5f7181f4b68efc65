// A packed weight, as `formats/product.py` describes it; its scales read back, and its rows unpacked.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__F16C__)
#include <immintrin.h>
#endif

extern "C" {

enum Kind { FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2, BYTES = 3, BLOCKS = 4 };

struct Scales {
    const void *codes;   // [rows, groups]
    const float *table;  // BYTES, BLOCKS: what a byte stands for
    const float *of;     // BYTES: one factor; BLOCKS: one for each 256 scales
    const float *mean;   // BLOCKS: added to all
    int32_t kind;
};

struct Weight {
    const uint8_t *codes;  // [rows, stride]
    const float *values;   // of each code
    int64_t rows, columns, stride;
    int64_t group;   // numbers that share a scale, or as many as columns
    int64_t groups;  // of a row; 0: one scale for all rows
    int32_t bits, ternary, has_offsets;
    Scales scales, offsets;
};

}  // extern "C"

namespace {

constexpr int64_t BLOCK = 256;  // scales that share a factor

// ---- scales --------------------------------------------------------------------------------------------------------

inline float from_half(uint16_t h) {
    const uint32_t sign = uint32_t(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 1023;
    if (e == 0) {
        const float small = float(m) * 0x1p-24f;
        return sign ? -small : small;
    }
    const uint32_t bits = sign | (e == 31 ? 0x7F800000u : (e + 112) << 23) | m << 13;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

// `count` scales from place `first` on, as floats.
void read_scales(const Scales &s, int64_t first, int64_t count, float *out) {
    switch (s.kind) {
    case FLOAT32:
        std::memcpy(out, static_cast<const float *>(s.codes) + first, count * 4);
        break;
    case FLOAT16: {
        const uint16_t *p = static_cast<const uint16_t *>(s.codes) + first;
        int64_t i = 0;
#ifdef __F16C__
        for (; i + 8 <= count; i += 8)
            _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p + i))));
#endif
        for (; i < count; ++i) out[i] = from_half(p[i]);
        break;
    }
    case BFLOAT16: {
        const uint16_t *p = static_cast<const uint16_t *>(s.codes) + first;
        for (int64_t i = 0; i < count; ++i) {
            const uint32_t bits = uint32_t(p[i]) << 16;
            std::memcpy(out + i, &bits, 4);
        }
        break;
    }
    default: {
        const uint8_t *p = static_cast<const uint8_t *>(s.codes) + first;
        if (s.kind == BYTES) {
            for (int64_t i = 0; i < count; ++i) out[i] = s.table[p[i]] * *s.of;
        } else {
            for (int64_t i = 0; i < count; ++i) out[i] = s.table[p[i]] * s.of[(first + i) / BLOCK] + *s.mean;
        }
    }
    }
}

void row_scales(const Weight &w, const Scales &s, int64_t row, float *out) {
    read_scales(s, w.groups ? row * w.groups : 0, std::max<int64_t>(w.groups, 1), out);
}

// ---- rows unpacked -------------------------------------------------------------------------------------------------

bool integers(const Weight &w) {
    const int most = 1 << w.bits;
    return !w.ternary && w.bits > 1 && w.values[0] == -most / 2 && w.values[most - 1] == most / 2 - 1;
}

// What each byte stands for where it holds whole codes: 8 floats for each of 256 bytes.
struct ByteTable {
    int per = 0;  // codes of a byte; 0: codes cross bytes
    std::vector<float> floats;

    explicit ByteTable(const Weight &w) {
        if (!w.ternary && 8 % w.bits) return;
        per = w.ternary ? 5 : 8 / w.bits;
        floats.assign(256 * 8, 0.0f);
        for (int b = 0; b < 256; ++b)
            for (int k = 0, rest = b; k < per; ++k) {
                floats[b * 8 + k] = w.ternary ? w.values[rest % 3] : w.values[rest & ((1 << w.bits) - 1)];
                rest = w.ternary ? rest / 3 : rest >> w.bits;
            }
    }
};

// Codes of widths that cross bytes: eight of them lie in BITS bytes.
template <int BITS> void unpack_across(const uint8_t *codes, int64_t columns, int64_t stride, const float *values,
                                       float *out) {
    const auto eight = [&](uint64_t word, float *to) {
        for (int k = 0; k < 8; ++k) to[k] = values[(word >> (k * BITS)) & ((1 << BITS) - 1)];
    };
    uint64_t word = 0;
    int64_t j = 0, at = 0;
    for (; at + 8 <= stride; j += 8, at += BITS) {
        std::memcpy(&word, codes + at, 8);
        eight(word, out + j);
    }
    for (; j < columns; j += 8, at += BITS) {
        word = 0;
        std::memcpy(&word, codes + at, std::min<int64_t>(BITS, stride - at));
        eight(word, out + j);
    }
}

// `out` has room for 16 floats more than columns.
void unpack_row(const Weight &w, const ByteTable &bytes, int64_t row, float *out) {
    const uint8_t *codes = w.codes + row * w.stride;
    if (bytes.per == 1 && integers(w)) {
        for (int64_t j = 0; j < w.columns; ++j) out[j] = float(codes[j] - 128);
    } else if (bytes.per == 1) {
        for (int64_t j = 0; j < w.columns; j += 2) {  // two at a time, or else compilers take slow gathers
            uint32_t low, high = 0;
            std::memcpy(&low, w.values + codes[j], 4);
            if (j + 1 < w.columns) std::memcpy(&high, w.values + codes[j + 1], 4);
            const uint64_t both = low | uint64_t(high) << 32;
            std::memcpy(out + j, &both, 8);
        }
    } else if (bytes.per) {
        const int64_t per = bytes.per;
        for (int64_t j = 0; j < w.stride; ++j)  // each overwrites what the one before wrote too much
            std::memcpy(out + j * per, &bytes.floats[codes[j] * 8], 32);
    } else if (w.bits == 3) {
        unpack_across<3>(codes, w.columns, w.stride, w.values, out);
    } else if (w.bits == 5) {
        unpack_across<5>(codes, w.columns, w.stride, w.values, out);
    } else if (w.bits == 6) {
        unpack_across<6>(codes, w.columns, w.stride, w.values, out);
    } else {
        unpack_across<7>(codes, w.columns, w.stride, w.values, out);
    }
}

// In place: times scale, plus offset, each rounded as torch does.
void apply_scales(const Weight &w, const float *scales, const float *offsets, float *out) {
    for (int64_t g = 0, j = 0; j < w.columns; ++g) {
        const int64_t end = std::min(j + w.group, w.columns);
        const float s = scales[g];
        if (offsets) {
            const float o = offsets[g];
            for (; j < end; ++j) out[j] = out[j] * s + o;
        } else {
            for (; j < end; ++j) out[j] *= s;
        }
    }
}

}  // namespace
