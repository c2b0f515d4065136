/** Copies between registered memories; overlapping is fine. The view it makes is the one allocation of a transfer. */
export function copyBytes(
  source: Uint8Array,
  sourceOffset: number,
  target: Uint8Array,
  targetOffset: number,
  length: number,
): void {
  if (length > 0) target.set(source.subarray(sourceOffset, sourceOffset + length), targetOffset)
}
