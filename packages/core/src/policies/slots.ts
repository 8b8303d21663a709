/**
 * A copy of `array` that reaches index `slot`, or `array` itself when it does already. Doubles, so that a pool which grows
 * one by one copies O(1) numbers per member.
 */
export function reaching (array: Float64Array<ArrayBuffer>, slot: number): Float64Array<ArrayBuffer> {
  if (slot < array.length) return array
  const grown = new Float64Array(Math.max(16, slot + 1, array.length * 2))
  grown.set(array)
  return grown
}

/** The highest slot of `candidates`, which is what every array indexed by slot has to reach. */
export function highestSlot (candidates: readonly { readonly slot: number }[]): number {
  let highest = 0
  for (const { slot } of candidates) if (slot > highest) highest = slot
  return highest
}
