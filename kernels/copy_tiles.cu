// copy_tiles.cu: copies between operands that are contiguous along different axes, as of a transposed matrix:
// out[column][row] = in[row][column], in another dtype or in the same.
//
// Launch     1-D, kThreads threads, one block for each tile of the walk. Static shared memory: one tile.
// Requires   packs of kInLen elements of in, or of kOutLen of out, aligned to their size and whole, if in_packs or
//            out_packs says so; otherwise elements. Both extents are at least 2. Without out_packs a tile of whole height
//            shares its last rows with the next one: a pack of kOutLen, or from kTileWide on a sector.
// Aliasing   out overlaps nothing.
// Numerics   as convert.cuh says; a copy within one dtype keeps all bits.
// Bound by   memory: n * (sizeof(From) + sizeof(To)) bytes, in runs of 256 bytes, or of 128 where elements have one.
//
// A thread loads a small block of kOutLen rows of kInLen elements, exchanges rows and columns in registers, and stores
// them as packs along columns to shared memory, from where they go out in the order of memory. A tile is 256 small
// blocks, as many side by side as the extents suggest. Where rows or columns begin anywhere, aligned packs come and go all the
// same; a sector that two tiles have a part of each would take the memory twice as long.
#include "mma.cuh"
#include "shifted.cuh"

// Elements of a pack.
template <typename T> constexpr u32 kTileLen = sizeof(T) == 1 ? 8 : 16 / sizeof(T);

// Blocks that share a multiprocessor: as many as the registers of a small block allow.
template <typename From, typename To> constexpr u32 tile_blocks() {
    const u32 len = kTileLen<From> * kTileLen<To>;
    const u32 bytes = len * (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To));
#if __CUDA_ARCH__ >= 1200
    if (bytes > 64) return 3;  // the same code takes some registers more, and shared memory is short
#endif
    return len == 64 || bytes > 64 ? 4 : bytes > 32 ? 5 : bytes > 16 ? 6 : 8;
}

// The twin of Tiles in src/args.rs.
struct Tiles {
    Walk<4> walk;  // over tiles: in, out, and the column and the row of the first element
    u64 columns;
    u64 rows;
    u64 in_row;      // from row to row, in elements
    u64 out_column;  // from column to column
    u32 across;      // log2 of the small blocks side by side in a tile
    u32 in_packs;
    u32 out_packs;
    u32 in_magic;  // i / columns == mulhi(i, magic), for i of a tile that holds all columns
};

// Where elements of a tile stand in shared memory: in packs along columns, which are mixed so that neither a warp that
// stores small blocks nor one that loads in order finds two of its packs in one bank.
template <u32 kInLen, u32 kOutLen, u32 kPackBytes> struct Mix {
    static constexpr u32 kBanks = 128 / kPackBytes;
    u32 down;  // log2 of packs in a column
    u32 shift;
    u32 mask;

    __device__ __forceinline__ explicit Mix(u32 across) : down(8 - across) {
        constexpr u32 kLog = kBanks == 8 ? 3 : 4;
        shift = across < kLog ? kLog - across : 0;
        const u32 whole = kInLen << down;
        mask = (whole < kBanks ? whole : kBanks) - 1;
    }

    __device__ __forceinline__ u32 pack(u32 column, u32 pack) const {
        return ((column << down) + pack) ^ (((column / kInLen) << shift) & mask);
    }

    __device__ __forceinline__ u32 element(u32 column, u32 row) const {
        return pack(column, row / kOutLen) * kOutLen + row % kOutLen;
    }
};

// Packs of a small block, as the words that are loaded and stored.
template <typename T> using TileWord = Choose<sizeof(T) == 1, u32x2, u32x4>;

// Four rows of four bytes each, which become columns.
__device__ __forceinline__ void turn(const u32 (&x)[4], u32 (&y)[4]) {
    const u32 low[2] = {__byte_perm(x[0], x[1], 0x5140), __byte_perm(x[2], x[3], 0x5140)};
    const u32 high[2] = {__byte_perm(x[0], x[1], 0x7362), __byte_perm(x[2], x[3], 0x7362)};
    y[0] = __byte_perm(low[0], low[1], 0x5410);
    y[1] = __byte_perm(low[0], low[1], 0x7632);
    y[2] = __byte_perm(high[0], high[1], 0x5410);
    y[3] = __byte_perm(high[0], high[1], 0x7632);
}

// Rows of a small block, which become columns: bytes, pairs of bytes, and all else.
__device__ __forceinline__ void turn_bytes(const u32x2 (&x)[8], u32x2 (&y)[8]) {
    #pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        u32 a[4], b[4];
        #pragma unroll
        for (u32 i = 0; i < 4; ++i) a[i] = x[4 * half + i].a, b[i] = x[4 * half + i].b;
        turn(a, a);
        turn(b, b);
        #pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            (half ? y[i].b : y[i].a) = a[i];
            (half ? y[4 + i].b : y[4 + i].a) = b[i];
        }
    }
}

__device__ __forceinline__ void turn_pairs(const u32x4 (&x)[8], u32x4 (&y)[8]) {
    const auto pair = [&](u32 c, u32 r) {
        const u32x4 first = x[r], second = x[r + 1];
        const u32 a = c < 2 ? first.a : c < 4 ? first.b : c < 6 ? first.c : first.d;
        const u32 b = c < 2 ? second.a : c < 4 ? second.b : c < 6 ? second.c : second.d;
        return __byte_perm(a, b, c % 2 ? 0x7632 : 0x5410);
    };
    #pragma unroll
    for (u32 c = 0; c < 8; ++c) y[c] = {pair(c, 0), pair(c, 2), pair(c, 4), pair(c, 6)};
}

template <typename From, typename To>
__device__ __forceinline__ void turn(const TileWord<From> (&x)[kTileLen<To>], TileWord<To> (&y)[kTileLen<From>]) {
    if constexpr (kSame<From, To> && sizeof(From) == 1) turn_bytes(x, y);
    else if constexpr (kSame<From, To> && sizeof(From) == 2) turn_pairs(x, y);
    else {
        #pragma unroll
        for (u32 c = 0; c < kTileLen<From>; ++c) {
            Pack<To, kTileLen<To>> column;
            #pragma unroll
            for (u32 r = 0; r < kTileLen<To>; ++r) {
                column.lane[r] = convert<To>(bits_as<Pack<From, kTileLen<From>>>(x[r]).lane[c]);
            }
            y[c] = bits_as<TileWord<To>>(column);
        }
    }
}

// Columns of a narrow tile, which begin anywhere: whole aligned packs. What they lack at the end of the tile is in the next
// one too; of the first and the last tile what is left goes by elements.
template <typename To, typename Mix>
__device__ __forceinline__ void store_columns(To* out, const Tiles& tiles, const TileWord<To>* tile, const Mix& mix,
                                              u32 columns, u32 rows, bool is_first, bool is_last) {
    constexpr u32 kLen = kTileLen<To>;
    const u32 skew = skew_of<kLen>(out), step = u32(tiles.out_column), down = kThreads >> mix.down;
    const auto head_of = [&](u32 column) { return (0 - skew - column * step) % kLen; };  // in front of the first pack
    const u32 first = threadIdx.x >> mix.down, number = threadIdx.x & ((1 << mix.down) - 1);
    const u32 whole = is_last ? rows : (kLen << mix.down) - 1;
    To* at = out + first * tiles.out_column + number * kLen;
    #pragma unroll 2
    for (u32 column = first; column < columns; column += down) {
        const u32 head = head_of(column);
        const auto pack = [&](u32 i) { return bits_as<Pack<To, kLen>>(tile[mix.pack(column, i)]); };
        if (number * kLen + head + kLen <= whole) store(at + head, shifted(pack(number), pack(number + (head > 0)), head));
        at += down * tiles.out_column;
    }
    if (!is_first && !is_last) return;

    constexpr u32 kSlots = 2 * kLen;
    const To* const single = reinterpret_cast<const To*>(tile);
    #pragma unroll 1
    for (u32 i = threadIdx.x; i < columns * kSlots; i += kThreads) {
        const u32 column = i / kSlots, slot = i % kSlots;
        const u32 head = min(head_of(column), rows), tail = (rows - head) % kLen;
        const u32 row = slot < head ? slot : rows - tail + (slot - head);
        const bool goes = row < rows && (slot < head ? is_first : is_last);
        if (goes) out[column * tiles.out_column + row] = single[mix.element(column, row)];
    }
}

// A wide tile whose rows or columns begin anywhere. Aligned packs come to shared memory as they lie, one more a row than a
// tile has, all on their way at once; whole aligned packs of columns go, of elements that are taken one by one from where they
// stand. Columns go in whole sectors: what they lack at the end of the tile is in the next one too; of the first and the last
// tile what is left goes by elements. As many columns as a row has packs are done at a time, a multiple of kPeriod: all that a
// thread has of them begins alike in packs, and where its elements stand is reckoned once.
template <typename From, typename To>
__device__ __forceinline__ void cross(const From* in, To* out, const Tiles& tiles, void* memory, u32 columns, u32 rows,
                                      bool is_first, bool is_last) {
    constexpr u32 kInLen = kTileLen<From>, kOutLen = kTileLen<To>, kBytes = sizeof(TileWord<From>);
    constexpr u32 kSector = kSectorBytes / sizeof(To);
    constexpr u32 kPeriod = kInLen > kOutLen ? kInLen : kOutLen;  // of rows, after which they begin alike
    const u32 packs = 1 << tiles.across, pitch = packs + 1, log_down = 8 - tiles.across;
    const u32 skew = skew_of<kInLen>(in), in_row = u32(tiles.in_row);
    const auto skew_in = [&](u32 row) { return (skew + row * in_row) % kInLen; };
    // kOutLen rows further on a pack is in another bank.
    const auto place = [&](u32 row) { return (row * pitch + row / kOutLen) * kInLen; };
    const auto start = [&](u32 row, u32 number) {
        const u32 before = skew_in(row), first = number * kInLen;
        if (first >= before + columns) return;
        const u32 to = shared_address(memory) + (place(row) + first) * sizeof(From);
        copy_async<kBytes>(to, in + row * tiles.in_row + first - before);
    };
    #pragma unroll 2
    for (u32 row = threadIdx.x >> tiles.across; row < rows; row += kThreads >> tiles.across) {
        start(row, threadIdx.x & (packs - 1));
    }
    #pragma unroll 1
    for (u32 row = threadIdx.x; row < rows; row += kThreads) start(row, packs);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();

    const bool aligned = kOutLen == 1 || tiles.out_packs;
    const u32 out_skew = skew_of<kSector>(out), out_column = u32(tiles.out_column);
    const u32 unit = is_first && is_last ? kOutLen : kSector;
    const auto head_of = [&](u32 column) { return aligned ? 0 : (0 - out_skew - column * out_column) & (unit - 1); };
    const From* const raw = static_cast<const From*>(memory);
    const u32 first = threadIdx.x >> log_down, number = threadIdx.x & ((1 << log_down) - 1);
    const u32 begin = number * kOutLen, height = kOutLen << log_down;
    u32 at[kOutLen];
    #pragma unroll
    for (u32 i = 0; i < kOutLen; ++i) {
        const u32 row = begin + head_of(first) % kPeriod + i;
        at[i] = place(row) + skew_in(row) + first;
    }
    #pragma unroll 2
    for (u32 column = first; column < columns; column += packs) {
        const u32 head = head_of(column), row = begin + head;
        if (aligned || is_last ? row + kOutLen > rows : begin + kSector >= height) continue;
        const u32 further = head / kPeriod * (kPeriod * pitch + kPeriod / kOutLen) * kInLen + (column - first);
        Pack<To, kOutLen> pack;
        #pragma unroll
        for (u32 i = 0; i < kOutLen; ++i) pack.lane[i] = convert<To>(raw[at[i] + further]);
        store(out + column * tiles.out_column + row, pack);
    }
    if (aligned || (!is_first && !is_last)) return;

    const u32 log_slots = 32 - __clz(unit);  // twice a unit
    #pragma unroll 1
    for (u32 i = threadIdx.x; i < columns << log_slots; i += kThreads) {
        const u32 column = i >> log_slots, slot = i & (2 * unit - 1);
        const u32 head = min(head_of(column), rows), tail = (rows - head) % kOutLen;
        const u32 row = slot < head ? slot : rows - tail + (slot - head);
        const bool goes = row < rows && (slot < head ? is_first : is_last);
        if (goes) out[column * tiles.out_column + row] = convert<To>(raw[place(row) + skew_in(row) + column]);
    }
}

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads, tile_blocks<From, To>())
copy_tiles(const From* in, To* out, const __grid_constant__ Tiles tiles) {
    follow();
    constexpr u32 kInLen = kTileLen<From>, kOutLen = kTileLen<To>;
    constexpr u32 kAtOnce = 4;
    // What is turned, or what cross has of wide tiles.
    constexpr u32 kTurned = kThreads * kInLen * sizeof(TileWord<To>);
    constexpr u32 kDown = kThreads >> kTileWide;
    constexpr u32 kRaw = ((kThreads + kDown) * kOutLen + kDown) * sizeof(TileWord<From>);
    __shared__ alignas(16) TileWord<To> tile[(kTurned > kRaw ? kTurned : kRaw) / sizeof(TileWord<To>)];
    const Mix<kInLen, kOutLen, sizeof(tile[0])> mix(tiles.across);
    To* const single = reinterpret_cast<To*>(tile);
    const u32 thread = threadIdx.x;

    u32 number[1] = {blockIdx.x};
    Place<4> place[1];
    tiles.walk.at(number, place);
    in += place[0].of[0];
    out += place[0].of[1];
    const u32 width = kInLen << tiles.across, height = kOutLen << mix.down;
    const u64 columns_left = tiles.columns - place[0].of[2], rows_left = tiles.rows - place[0].of[3];
    const u32 columns = columns_left < width ? u32(columns_left) : width;
    const u32 rows = rows_left < height ? u32(rows_left) : height;

    const bool aligned = kInLen == 1 || tiles.in_packs;
    if (tiles.across >= kTileWide && !(aligned && (kOutLen == 1 || tiles.out_packs))) {
        cross(in, out, tiles, tile, columns, rows, place[0].of[3] == 0, rows_left <= height);
        return;
    }
    if (kInLen <= 2 || tiles.columns >= kInLen) {
        const u32 across = thread & ((1 << tiles.across) - 1);
        const u32 column = across * kInLen, row = (thread >> tiles.across) * kOutLen;
        const bool exists = column < columns && row < rows;
        TileWord<From> x[kOutLen];
        #pragma unroll
        for (u32 r = 0; r < kOutLen; ++r) x[r] = {};
        if (aligned) {
            const From* at = in + row * tiles.in_row + column;
            #pragma unroll
            for (u32 r = 0; r < kOutLen; ++r) {
                if (exists && row + r < rows) x[r] = ld_global(reinterpret_cast<const TileWord<From>*>(at + r * tiles.in_row));
            }
        } else {
            #pragma unroll
            for (u32 r = 0; r < kOutLen; ++r) {
                const From* at = in + (row + r) * tiles.in_row + column;
                if (exists && row + r < rows) x[r] = bits_as<TileWord<From>>(load_shifted<kInLen>(at, columns - column));
            }
        }
        if (exists) {
            TileWord<To> y[kInLen];
            turn<From, To>(x, y);
            #pragma unroll
            for (u32 c = 0; c < kInLen; ++c) tile[mix.pack(column + c, row / kOutLen)] = y[c];
        }
    } else if (tiles.in_row == tiles.columns) {
        // Rows that are shorter than a pack and follow each other.
        const u32 n = columns * rows;
        #pragma unroll 1
        for (u32 first = thread * kInLen; first < n; first += kAtOnce * kThreads * kInLen) {
            Pack<From, kInLen> x[kAtOnce];
            #pragma unroll
            for (u32 j = 0; j < kAtOnce; ++j) {
                const u32 i = first + j * kThreads * kInLen;
                if (i < n) x[j] = load_shifted<kInLen>(in + i, n - i);
            }
            #pragma unroll
            for (u32 j = 0; j < kAtOnce; ++j) {
                #pragma unroll
                for (u32 l = 0; l < kInLen; ++l) {
                    const u32 i = first + j * kThreads * kInLen + l;
                    const u32 row = __umulhi(i, tiles.in_magic);
                    if (i < n) single[mix.element(i - row * columns, row)] = convert<To>(x[j].lane[l]);
                }
            }
        }
    } else {
        const u32 n = columns * rows;
        #pragma unroll 1
        for (u32 first = thread; first < n; first += kAtOnce * kThreads) {
            From x[kAtOnce];
            u32 to[kAtOnce];
            #pragma unroll
            for (u32 j = 0; j < kAtOnce; ++j) {
                const u32 i = first + j * kThreads;
                const u32 row = __umulhi(i, tiles.in_magic), column = i - row * columns;
                to[j] = mix.element(column, row);
                if (i < n) x[j] = in[row * tiles.in_row + column];
            }
            #pragma unroll
            for (u32 j = 0; j < kAtOnce; ++j) {
                if (first + j * kThreads < n) single[to[j]] = convert<To>(x[j]);
            }
        }
    }
    __syncthreads();

    if (kOutLen == 1 || tiles.out_packs) {
        const u32 mask = (1 << mix.down) - 1;
        TileWord<To> y[kInLen];
        #pragma unroll
        for (u32 c = 0; c < kInLen; ++c) {
            const u32 i = thread + c * kThreads;
            y[c] = tile[mix.pack(i >> mix.down, i & mask)];
        }
        #pragma unroll
        for (u32 c = 0; c < kInLen; ++c) {
            const u32 i = thread + c * kThreads, column = i >> mix.down, row = (i & mask) * kOutLen;
            To* at = out + column * tiles.out_column + row;
            if (column < columns && row < rows) st_global(reinterpret_cast<TileWord<To>*>(at), y[c]);
        }
    } else {
        store_columns(out, tiles, tile, mix, columns, rows, place[0].of[3] == 0, rows_left <= height);
    }
}
