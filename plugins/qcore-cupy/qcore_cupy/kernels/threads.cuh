// The loops of the kernels: each thread goes through its elements, in an order that depends on
// their number alone.
#pragma once
#include "places.cuh"
#include "scheme.cuh"

// Call body(where(local), index, value) for each element of an array that lies as blocks do, with
// where = locate(tile). A thread loads AHEAD elements before it uses them, to keep memory busy.
template <int AHEAD, typename T, typename Locate, typename Body>
__device__ inline void for_each(const Blocks& blocks, const T* __restrict__ array, Locate locate,
                                Body body) {
    i64 tiles = (blocks.size + TILE - 1) / TILE;
#pragma unroll 1
    for (i64 number = blockIdx.x; number < tiles; number += gridDim.x) {
        Tile tile = tile_at(blocks, number);
        auto where = locate(tile);
        const T* __restrict__ own = array + tile.start;
#pragma unroll 1
        for (int first = threadIdx.x; first < TILE; first += AHEAD * THREADS) {
            T values[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                int local = first + i * THREADS;
                values[i] = local < tile.count ? own[local] : T(0);
            }
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                int local = first + i * THREADS;
                if (local < tile.count) body(where(local), tile.start + local, values[i]);
            }
        }
    }
}

// Call body(place, index, value).
template <typename T, typename Body>
__device__ inline void for_each_place(const Blocks& blocks, const T* array, Body body) {
    auto locate = [&](const Tile& tile) {
        return [&blocks, tile](int local) { return place_in(blocks, tile, local); };
    };
    for_each<2>(blocks, array, locate, body);
}

// Call body(row, index, value), with the params of the element's block. Where blocks are long, a
// tile needs those of two at most, and they are loaded once.
template <typename Kind, typename T, typename Body>
__device__ inline void for_each_row(const Blocks& blocks, const Scheme& scheme, const T* array,
                                    Body body) {
    if (are_long(blocks)) {
        auto locate = [&](const Tile& tile) {
            Row row = row_of<Kind>(scheme, tile.outer), next = row;
            i64 rest = blocks.inner - tile.inner;
            int end = rest < TILE ? (int)rest : TILE;
            if (end < tile.count) next = row_of<Kind>(scheme, tile.outer + 1);
            return [row, next, end](int local) { return local < end ? row : next; };
        };
        for_each<Kind::AHEAD>(blocks, array, locate, body);
    } else {
        auto locate = [&](const Tile& tile) {
            return [&blocks, &scheme, tile](int local) {
                return row_of<Kind>(scheme, block_of(blocks, place_in(blocks, tile, local)));
            };
        };
        for_each<Kind::AHEAD>(blocks, array, locate, body);
    }
}

// Call body(kind, row, index, value, u), for what is to be rounded. What is the same for every
// element is asked once: asked in the loop, the compiler would lay out every combination of
// answers, at fifty times the code.
template <typename Body>
__device__ inline void for_each_rounded(const Blocks& blocks, const Scheme& scheme,
                                        const float* x, Body body) {
    auto with = [&](auto kind) {
        auto given = [&](const Row& row, i64 index, float value) {
            body(kind, row, index, value, 0.0);
        };
        for_each_row<decltype(kind)>(blocks, scheme, x, given);
    };
    if (scheme.rule < 0) {
        auto locate = [&](const Tile& tile) {
            return [&blocks, tile](int local) { return place_in(blocks, tile, local); };
        };
        for_each<1>(blocks, x, locate, [&](const Place& place, i64 index, float value) {
            Row row = row_of<AnyScheme>(scheme, block_of(blocks, place));
            double u = chance(scheme, index, position_of(blocks, place));
            body(AnyScheme(), row, index, value, u);
        });
    } else if (scheme.units) {
        with(Levels());
    } else if (scheme.offset || scheme.zero_point) {
        with(Integers());
    } else {
        with(Symmetric());
    }
}
