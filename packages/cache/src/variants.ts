import { sameStrong } from './combine.ts'
import type { Entry } from './entry.ts'
import { sameNames } from './semantics/vary.ts'

/** Do both answer the same requests, as far as selecting fields go? */
export function sameVariant (a: Entry, b: Entry): boolean {
  return sameNames(a.vary, b.vary) && a.varyValues.every((value, i) => value === b.varyValues[i])
}

/** Does a new response take another's place? Parts of one representation stand side by side. */
export function replaces (entry: Entry, other: Entry): boolean {
  if (!sameVariant(entry, other)) return false
  return !(entry.part !== undefined && other.part !== undefined && sameStrong(entry, other))
}
