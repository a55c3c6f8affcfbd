// How elements are shared out among threads, and to which block of the scheme each belongs.
//
// Memory is gone through in order, in tiles, each by one group of threads. Blocks (n, b) lie one
// after the other (C order: outer = n, inner = b), or side by side (Fortran order: outer = b,
// inner = n). One division finds where a tile begins; within it a multiplication does.
#pragma once
#include "platform.cuh"

constexpr int THREADS = 256;
constexpr int TILE = 16 * THREADS;

// As the host fills it in; every field has 8 bytes. See arguments.py.
struct Blocks {
    i64 size, outer, inner;
    i64 turned;  // whether they lie side by side
};

// Some neighbours in memory.
struct Tile {
    i64 start;         // the first one's place
    int count;         // how many
    i64 outer, inner;  // the first one's indices
    u64 reciprocal;    // 2^32 / inner, rounded up, where a tile holds several runs of inner
};

QCORE_FN Tile tile_at(const Blocks& blocks, i64 number) {
    Tile tile;
    tile.start = number * TILE;
    tile.count = blocks.size - tile.start < TILE ? (int)(blocks.size - tile.start) : TILE;
    tile.outer = tile.start / blocks.inner;
    tile.inner = tile.start - tile.outer * blocks.inner;
    tile.reciprocal = blocks.inner < TILE ? (0xFFFFFFFFull + blocks.inner) / blocks.inner : 0;
    return tile;
}

// The indices of an element in memory.
struct Place {
    i64 outer, inner;
};

QCORE_FN Place place_in(const Blocks& blocks, const Tile& tile, int local) {
    Place place;
    place.outer = tile.outer;
    place.inner = tile.inner + local;
    if (blocks.inner >= TILE) {  // the next run begins in this tile at most once
        if (place.inner >= blocks.inner) {
            place.inner -= blocks.inner;
            ++place.outer;
        }
    } else {  // inner < 2 · TILE, where the reciprocal is exact
        i64 runs = (i64)((u64)place.inner * tile.reciprocal >> 32);
        place.inner -= runs * blocks.inner;
        place.outer += runs;
    }
    return place;
}

// Its row in the params.
QCORE_FN i64 block_of(const Blocks& blocks, const Place& place) {
    return blocks.turned ? place.inner : place.outer;
}

// Its place in C order of (n, b).
QCORE_FN i64 position_of(const Blocks& blocks, const Place& place) {
    if (blocks.turned) return place.inner * blocks.outer + place.outer;
    return place.outer * blocks.inner + place.inner;
}

// Whether each tile holds elements of one block, or of two neighbours.
QCORE_FN bool are_long(const Blocks& blocks) { return !blocks.turned && blocks.inner >= TILE; }
