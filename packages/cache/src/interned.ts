/** Strings of one generation. */
const MOST = 2048
/** Longer ones are rarely the same twice. */
const LONGEST = 128

let young = new Map<string, string>()
let old = new Map<string, string>()

/** The same text as one string, when it came lately: responses repeat nearly all that their fields say, and a store holds many of them. */
export function interned (text: string): string {
  if (text.length > LONGEST) return text
  const known = young.get(text)
  if (known !== undefined) return known
  if (young.size >= MOST) {
    old = young
    young = new Map()
  }
  const kept = old.get(text) ?? text
  young.set(kept, kept)
  return kept
}
