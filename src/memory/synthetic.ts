/**
 * The byte pattern of `pagebase image`: 64-bit word i of page p is mix(512 p + i + 1), mix being the finaliser of
 * MurmurHash3. Every page differs from every other, so any client can check every byte it gets.
 */

/** Fills one 4 KiB page (1024 little-endian u32 words from `at`) with the pattern of page `page`. */
export function fillSyntheticPage(words: Uint32Array, at: number, page: number): void {
  // x ^= x >> 33; x *= C1; x ^= x >> 33; x *= C2; x ^= x >> 33, in 32-bit halves: BigInt costs 50 µs a page.
  for (let i = 0; i < 512; i++) {
    const x = page * 512 + i + 1
    let lo = x | 0
    let hi = (x / 0x1_0000_0000) | 0
    lo ^= hi >>> 1
    let next = mulHigh(lo, 0xed558ccd) + Math.imul(lo, 0xff51afd7) + Math.imul(hi, 0xed558ccd)
    lo = Math.imul(lo, 0xed558ccd)
    hi = next | 0
    lo ^= hi >>> 1
    next = mulHigh(lo, 0x1a85ec53) + Math.imul(lo, 0xc4ceb9fe) + Math.imul(hi, 0x1a85ec53)
    lo = Math.imul(lo, 0x1a85ec53)
    hi = next | 0
    lo ^= hi >>> 1
    words[at + 2 * i] = lo
    words[at + 2 * i + 1] = hi
  }
}

/** Upper 32 bits of the unsigned 32 × 32 product, by 16-bit halves. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const mid = aHigh * bLow + ((aLow * bLow) >>> 16) // Below 2^33: exact.
  return (aHigh * bHigh + Math.floor(mid / 0x1_0000) + ((mid % 0x1_0000) + aLow * bHigh) / 0x1_0000) | 0
}
