// y = x times the transpose of a packed weight, and the weight's rows unpacked; see formats/product.py.
//
// Packed codes are read as 32-bit words, one to a lane of a vector register: a word holds L codes that lie behind each
// other in a row (16 of two bits, 8 of three to seven, 4 of eight). Code k of all lanes becomes a vector of numbers by a
// shift and a look-up among 16 values in a register (of more than four bits: integers, converted). Inputs are put in
// the same order once: lane i of vector k of block b is input (b W + i) L + k. Each lane sums up its own codes; a group
// is a whole number of lanes, so sums are multiplied by their group's scale lane by lane, and its offset by the sum of
// the lane's inputs.
// Formats that do not lie so (other widths, ternary, odd groups) are unpacked a row at a time and multiplied then.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "vectors.h"
#include "weight.h"

namespace {

constexpr int64_t CHUNK = 64;  // rows that one thread takes at a time

constexpr bool crossing(int bits) { return bits > 4 && bits < 8; }
constexpr int codes_of_lane(int bits) { return bits == 3 || crossing(bits) ? 8 : 32 / bits; }

// The highest bits of codes from place `first` of a word on.
constexpr uint32_t sign_bits(int bits, int first) {
    uint32_t out = 0;
    for (int at = first; at + bits <= 32; at += bits) out |= 1u << (at + bits - 1);
    return out;
}

// Inputs in the order of the codes, in tiles of 4, 2 or 1 rows of x: [tile][block][k][row of tile][lane].
struct Inputs {
    struct Tile {
        int64_t first, rows;
        const float *x, *sums;
    };
    std::vector<float> all, sums;  // the sum over k of each lane
    std::vector<Tile> tiles;

    Inputs(const float *x, int64_t n, int64_t columns, int L, int64_t blocks) {
        all.assign(n * blocks * L * W, 0.0f);
        sums.assign(n * blocks * W, 0.0f);
        for (int64_t first = 0; first < n;) {
            const int64_t rows = n - first >= 4 ? 4 : n - first >= 2 ? 2 : 1;
            float *to = all.data() + first * blocks * L * W, *s = sums.data() + first * blocks * W;
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t word = 0; word * L < columns; ++word) {
                    const int64_t b = word / W, lane = word % W;
                    const float *from = x + (first + r) * columns + word * L;
                    float total = 0;
                    for (int k = 0; k < L && word * L + k < columns; ++k) {
                        to[((b * L + k) * rows + r) * W + lane] = from[k];
                        total += from[k];
                    }
                    s[(b * rows + r) * W + lane] = total;
                }
            tiles.push_back({first, rows, to, s});
            first += rows;
        }
    }
};

// Of each block, from which scale on its lanes' scales lie, and the place of each lane's beyond that.
struct Places {
    std::vector<int32_t> first, lanes;

    Places(const Weight &w, int L, int64_t blocks) : first(blocks), lanes(blocks * W) {
        const int64_t last = std::max<int64_t>(w.groups, 1) - 1;
        for (int64_t b = 0; b < blocks; ++b) {
            first[b] = int32_t(std::min(b * W * L / w.group, last));
            for (int i = 0; i < W; ++i)
                lanes[b * W + i] = int32_t(std::min((b * W + i) * L / w.group, last)) - first[b];
        }
    }
};

// Two words of each lane whose codes take BITS bytes: the first four bytes of these, and the last four.
#ifdef __AVX512VBMI__
template <int BITS> struct Spread {
    uint8_t at[2][64] = {};
    constexpr Spread() {
        for (int i = 0; i < 64; ++i) {
            at[0][i] = uint8_t(BITS * (i / 4) + i % 4);
            at[1][i] = uint8_t(at[0][i] + BITS - 4);
        }
    }
};
template <int BITS> inline void load_crossing(const uint8_t *p, I &first, I &second) {
    static constexpr Spread<BITS> spread;
    const I low = load_words(p), high = _mm512_maskz_loadu_epi8((1ull << (16 * BITS - 64)) - 1, p + 64);
    first = _mm512_permutex2var_epi8(low, load_words(spread.at[0]), high);
    second = _mm512_permutex2var_epi8(low, load_words(spread.at[1]), high);
}
#else
template <int BITS> inline void load_crossing(const uint8_t *p, I &first, I &second) {
    first = load_strided(p, BITS);
    second = load_strided(p + BITS - 4, BITS);
}
#endif

// A block of a row: its words, and numbers from them. Integers of five to eight bits become signed ones by turning their
// highest bit; of five to seven, the first four codes of a lane lie in one word and the last four in another.
template <int BITS> struct Words {
    static constexpr int L = codes_of_lane(BITS);
    static constexpr int64_t SIZE = L * W * BITS / 8;
    static constexpr int LATE = 32 - 4 * BITS;  // where the fifth code begins in the second word

    I first, second;

    inline void load(const uint8_t *p) {
        if constexpr (BITS == 3) {
            first = load_threes(p);
        } else if constexpr (BITS == 8) {
            first = flip(load_words(p), 0x80808080u);
        } else if constexpr (crossing(BITS)) {
            load_crossing<BITS>(p, first, second);
            first = flip(first, sign_bits(BITS, 0));
            second = flip(second, sign_bits(BITS, LATE));
        } else {
            first = load_words(p);
        }
    }
    template <int K> inline F get(const Table &table) const {
        if constexpr (BITS == 8 || (crossing(BITS) && K < 4)) return signed_bits<BITS, K * BITS>(first);
        else if constexpr (crossing(BITS)) return signed_bits<BITS, LATE + (K - 4) * BITS>(second);
        else return table(right<K * BITS>(first));
    }
};

template <int BITS, int R, int N, int K>
inline void step(const Words<BITS> (&words)[R], const Table &table, const float *x, F (&part)[R][N]) {
    if constexpr (K < Words<BITS>::L) {
        F values[R];
        for (int r = 0; r < R; ++r) values[r] = words[r].template get<K>(table);
        for (int n = 0; n < N; ++n) {
            const F input = load(x + (K * N + n) * W);
            for (int r = 0; r < R; ++r) part[r][n] = fma(values[r], input, part[r][n]);
        }
        step<BITS, R, N, K + 1>(words, table, x, part);
    }
}

// R rows of the weight, of which `valid` are there (others repeat the last), by N rows of x.
template <int BITS, int R, int N>
void tile(const Weight &w, const Table &table, const Places &places, const Inputs::Tile &in, int64_t row,
          int64_t valid, const float *scales, const float *offsets, int64_t room, float *y) {
    using Block = Words<BITS>;
    const int64_t blocks = places.first.size();
    int64_t at_row[R];
    for (int r = 0; r < R; ++r) at_row[r] = std::min<int64_t>(r, valid - 1);
    F total[R][N];
    for (auto &t : total)
        for (F &v : t) v = zero();
    for (int64_t b = 0; b < blocks; ++b) {
        const int64_t at = b * Block::SIZE;
        Block words[R];
        for (int r = 0; r < R; ++r) {
            const uint8_t *p = w.codes + (row + at_row[r]) * w.stride + at;
            __builtin_prefetch(p + 2 * R * w.stride, 0, 2);  // rows are too short for the processor to foresee them
            if (at + Block::SIZE <= w.stride) {
                words[r].load(p);
            } else {
                uint8_t end[8 * W] = {};
                std::memcpy(end, p, w.stride - at);
                words[r].load(end);
            }
        }
        F part[R][N];
        for (auto &t : part)
            for (F &v : t) v = zero();
        step<BITS, R, N, 0>(words, table, in.x + b * Block::L * N * W, part);
        const I lanes = load_words(places.lanes.data() + b * W);
        const int32_t first = places.first[b];
        for (int r = 0; r < R; ++r) {
            const F s = pick(load(scales + at_row[r] * room + first), lanes);
            for (int n = 0; n < N; ++n) total[r][n] = fma(s, part[r][n], total[r][n]);
        }
        if (offsets)
            for (int r = 0; r < R; ++r) {
                const F o = pick(load(offsets + at_row[r] * room + first), lanes);
                for (int n = 0; n < N; ++n)
                    total[r][n] = fma(o, load(in.sums + (b * N + n) * W), total[r][n]);
            }
    }
    for (int r = 0; r < valid && r < R; ++r)
        for (int n = 0; n < N; ++n) y[(in.first + n) * w.rows + row + r] = sum(total[r][n]);
}

template <int BITS> void by_words(const Weight &w, const float *x, int64_t n, float *y, int threads) {
    constexpr int L = codes_of_lane(BITS);
    const int64_t blocks = (w.columns + W * L - 1) / (W * L);
    const Inputs inputs(x, n, w.columns, L, blocks);
    const Places places(w, L, blocks);
    float values[16] = {};  // a short table is repeated: then no code needs a mask
    if (BITS <= 4)
        for (int i = 0; i < 16; ++i) values[i] = w.values[i & ((1 << BITS) - 1)];
    const Table table(values);
    const int64_t room = std::max<int64_t>(w.groups, 1) + W, chunks = (w.rows + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t begin = chunk * CHUNK, end = std::min(begin + CHUNK, w.rows);
        std::vector<float> scales((end - begin) * room), offsets(w.has_offsets ? (end - begin) * room : 0);
        for (int64_t r = begin; r < end; ++r) {
            row_scales(w, w.scales, r, scales.data() + (r - begin) * room);
            if (w.has_offsets) row_scales(w, w.offsets, r, offsets.data() + (r - begin) * room);
        }
        for (const auto &in : inputs.tiles)
            for (int64_t r = begin; r < end;) {
                const float *s = scales.data() + (r - begin) * room;
                const float *o = w.has_offsets ? offsets.data() + (r - begin) * room : nullptr;
#define TILE(R, N) tile<BITS, R, N>(w, table, places, in, r, end - r, s, o, room, y), r += R
                if (in.rows == 4) TILE(2, 4);
                else if (in.rows == 2) TILE(4, 2);
                else TILE(4, 1);
#undef TILE
            }
    }
}

void by_rows(const Weight &w, const float *x, int64_t n, float *y, int threads) {
    const ByteTable bytes(w);
    const int64_t room = std::max<int64_t>(w.groups, 1);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> row(w.columns + 16), scales(room), offsets(room);
#pragma omp for schedule(dynamic, 16)
        for (int64_t r = 0; r < w.rows; ++r) {
            unpack_row(w, bytes, r, row.data());
            row_scales(w, w.scales, r, scales.data());
            if (w.has_offsets) row_scales(w, w.offsets, r, offsets.data());
            apply_scales(w, scales.data(), w.has_offsets ? offsets.data() : nullptr, row.data());
            for (int64_t i = 0; i < n; ++i) {
                const float *in = x + i * w.columns;
                F a[4] = {zero(), zero(), zero(), zero()};
                int64_t j = 0;
                for (; j + 4 * W <= w.columns; j += 4 * W)
                    for (int k = 0; k < 4; ++k) a[k] = fma(load(row.data() + j + k * W), load(in + j + k * W), a[k]);
                float total = sum(a[0]) + sum(a[1]) + (sum(a[2]) + sum(a[3]));
                for (; j < w.columns; ++j) total += row[j] * in[j];
                y[i * w.rows + r] = total;
            }
        }
    }
}

}  // namespace

extern "C" {

// y [n, rows] = x [n, columns] times the weight transposed.
void smidgen_packed_product(const Weight *w, const float *x, int64_t n, float *y, int32_t threads) {
    const bool whole = w->group >= w->columns || w->group % codes_of_lane(w->bits) == 0;
    if (w->ternary || !whole || w->bits == 1 || (w->bits > 4 && !integers(*w))) by_rows(*w, x, n, y, threads);
    else if (w->bits == 2) by_words<2>(*w, x, n, y, threads);
    else if (w->bits == 3) by_words<3>(*w, x, n, y, threads);
    else if (w->bits == 4) by_words<4>(*w, x, n, y, threads);
    else if (w->bits == 5) by_words<5>(*w, x, n, y, threads);
    else if (w->bits == 6) by_words<6>(*w, x, n, y, threads);
    else if (w->bits == 7) by_words<7>(*w, x, n, y, threads);
    else by_words<8>(*w, x, n, y, threads);
}

// out [end - begin, columns]: rows of the weight.
void smidgen_packed_rows(const Weight *w, int64_t begin, int64_t end, float *out, int32_t threads) {
    const ByteTable bytes(*w);
    const int64_t room = std::max<int64_t>(w->groups, 1);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> row(w->columns + 16), scales(room), offsets(room);
#pragma omp for schedule(dynamic, 16)
        for (int64_t r = begin; r < end; ++r) {
            unpack_row(*w, bytes, r, row.data());
            row_scales(*w, w->scales, r, scales.data());
            if (w->has_offsets) row_scales(*w, w->offsets, r, offsets.data());
            apply_scales(*w, scales.data(), w->has_offsets ? offsets.data() : nullptr, row.data());
            std::memcpy(out + (r - begin) * w->columns, row.data(), w->columns * 4);
        }
    }
}

}  // extern "C"
