/** Which page a client touches when: the orders of `pagebase client`, page for page, so that both do the same. */
export const TOUCH_ORDERS = ['seq', 'rand', 'stride', 'zipf'] as const
export type TouchOrder = (typeof TOUCH_ORDERS)[number]

const STRIDE = 7
const MASK = 0xffff_ffff_ffff_ffffn

/** MurmurHash3's finaliser on 64 bits. Slow and exact; orders are made once. */
function mix(x: bigint): bigint {
  let y = x ^ (x >> 33n)
  y = (y * 0xff51afd7ed558ccdn) & MASK
  y ^= y >> 33n
  y = (y * 0xc4ceb9fe1a85ec53n) & MASK
  return y ^ (y >> 33n)
}

/** @param count touches wanted; all orders but zipf touch no page twice, and so at most `pageCount` */
export function touchOrder(
  name: TouchOrder,
  pageCount: number,
  count: number,
  seed = 99,
): Int32Array<SharedArrayBuffer> {
  const touches = name === 'zipf' ? count : Math.min(count, pageCount)
  const order = new Int32Array(new SharedArrayBuffer(4 * touches))
  switch (name) {
    case 'seq':
      for (let i = 0; i < touches; i++) order[i] = i
      break
    case 'stride':
      for (let i = 0, page = 0, first = 0; i < touches; i++) {
        order[i] = page
        page += STRIDE
        if (page >= pageCount) page = ++first
      }
      break
    case 'rand': {
      const all = Int32Array.from({ length: pageCount }, (_, i) => i)
      for (let i = 0; i < touches; i++) {
        const j = i + Number(mix(BigInt(i + seed)) % BigInt(pageCount - i))
        const page = all[j]!
        all[j] = all[i]!
        all[i] = page
        order[i] = page
      }
      break
    }
    case 'zipf':
      for (let i = 0; i < touches; i++) {
        const uniform = Number(mix(BigInt(i + seed)) >> 11n) / 2 ** 53
        const rank = Math.max(0, Math.floor(pageCount ** uniform) - 1)
        order[i] = Number(mix(BigInt(rank + 7)) % BigInt(pageCount))
      }
  }
  return order
}
