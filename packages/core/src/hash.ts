/**
 * 32-bit hash of a string's UTF-16 units: FNV-1a with a final avalanche (the MurmurHash3 finaliser), so that similar keys
 * (neighbouring addresses) land far apart. The same on every machine and version; not for secrets.
 */
export function hash32 (text: string, seed = 0): number {
  let hash = 0x811c9dc5 ^ seed
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return mix32(hash)
}

/** The avalanche step alone: every input bit changes about half of the output bits. */
export function mix32 (value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
