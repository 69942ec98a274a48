// The resize as a block of a GPU does it: a tile of the result at a time. Bytes between the columns and the last rows are
// made once for the whole tile and kept in shared memory; what is not kept is made anew, so any tables are right.
#pragma once

#include "resize.h"

namespace hyperseg {

constexpr int kTileRows = 16, kTileNumbers = 64;  // of the result; as in cuda_source.py
constexpr int kKeptRows = 256;                    // most rows of bytes that are kept
constexpr int kAtOnce = 4;                        // rows for which a thread reads the tables of its column once

struct Tile {
  long long image;
  int first_row, rows, first_number, numbers;
  int lowest, kept;  // rows between the passes: the first that is kept, and how many
};

template <class T>
HYPERSEG_INLINE Tile tile_of(const Resize<T>& all, long long index) {
  const int line = all.columns.size * all.channels;
  const int across = (line + kTileNumbers - 1) / kTileNumbers, down = (all.last_rows.size + kTileRows - 1) / kTileRows;
  const int row = static_cast<int>(index / across % down) * kTileRows, number = static_cast<int>(index % across) * kTileNumbers;
  const int rows = row + kTileRows < all.last_rows.size ? kTileRows : all.last_rows.size - row;
  const int lowest = all.last_rows.index[row];
  const int needed = all.last_rows.index[(all.last_rows.taps - 1) * all.last_rows.size + row + rows - 1] - lowest + 1;
  return {index / across / down, row, rows, number, number + kTileNumbers < line ? kTileNumbers : line - number,
          lowest, needed < 0 ? 0 : needed < kKeptRows ? needed : kKeptRows};
}

// Bytes of kRows rows between the passes, `apart` from each other, at one number of a line.
template <int kRows, class T>
HYPERSEG_INLINE void across(const Resize<T>& all, long long image, int between, int apart, int number, int* bytes) {
  const int column = number / all.channels, channel = number % all.channels;
  const long long line = static_cast<long long>(all.width) * all.channels;
  const T* pixels = all.pixels + image * all.height * line + channel;
  const T* lines[kRows];
  bool idle = all.first_rows.taps == 1;  // a pass over rows that gives each pixel itself
HYPERSEG_UNROLL
  for (int row = 0; row < kRows; ++row) {
    const int place = between + row * apart;
    lines[row] = pixels + all.first_rows.index[place] * line;
    idle = idle && all.first_rows.weight[place] == 1 << kWeightBits;
    bytes[row] = 1 << (kWeightBits - 1);
  }
  if (!idle) {
HYPERSEG_UNROLL
    for (int row = 0; row < kRows; ++row)
      bytes[row] = weighted(all.columns, column, [&](int x) {
        return weighted(all.first_rows, between + row * apart,
                        [&](int y) { return static_cast<int>(to_float(pixels[y * line + x * all.channels])); });
      });
    return;
  }
  for (int tap = 0; tap < all.columns.taps; ++tap) {
    const int place = tap * all.columns.size + column;
    const int weight = all.columns.weight[place], x = all.columns.index[place] * all.channels;
HYPERSEG_UNROLL
    for (int row = 0; row < kRows; ++row) bytes[row] += weight * static_cast<int>(to_float(lines[row][x]));
  }
HYPERSEG_UNROLL
  for (int row = 0; row < kRows; ++row) bytes[row] = to_byte(bytes[row]);
}

// What thread `thread` of `threads` keeps for the others; `threads` is a multiple of kTileNumbers.
template <class T>
HYPERSEG_INLINE void keep(const Resize<T>& all, const Tile& tile, int thread, int threads, unsigned char* kept) {
  const int number = thread % kTileNumbers, apart = threads / kTileNumbers;
  if (number >= tile.numbers) return;
  int row = thread / kTileNumbers;
  for (; row + (kAtOnce - 1) * apart < tile.kept; row += kAtOnce * apart) {
    int bytes[kAtOnce];
    across<kAtOnce>(all, tile.image, tile.lowest + row, apart, tile.first_number + number, bytes);
HYPERSEG_UNROLL
    for (int one = 0; one < kAtOnce; ++one)
      kept[(row + one * apart) * kTileNumbers + number] = static_cast<unsigned char>(bytes[one]);
  }
  for (; row < tile.kept; row += apart) {
    int byte;
    across<1>(all, tile.image, tile.lowest + row, 0, tile.first_number + number, &byte);
    kept[row * kTileNumbers + number] = static_cast<unsigned char>(byte);
  }
}

// The numbers of the result that a thread makes, once all threads have kept theirs.
template <class T>
HYPERSEG_INLINE void finish(const Resize<T>& all, const Tile& tile, int thread, int threads, const unsigned char* kept) {
  const int number = thread % kTileNumbers;
  if (number >= tile.numbers) return;
  const long long line = static_cast<long long>(all.columns.size) * all.channels;
  T* resized = all.resized + (tile.image * all.last_rows.size + tile.first_row) * line + tile.first_number + number;
  for (int row = thread / kTileNumbers; row < tile.rows; row += threads / kTileNumbers) {
    const int byte = weighted(all.last_rows, tile.first_row + row, [&](int between) {
      const int place = between - tile.lowest;
      if (place >= 0 && place < tile.kept) return static_cast<int>(kept[place * kTileNumbers + number]);
      int made;
      across<1>(all, tile.image, between, 0, tile.first_number + number, &made);
      return made;
    });
    from_float(static_cast<float>(byte), resized[row * line]);
  }
}

}  // namespace hyperseg
