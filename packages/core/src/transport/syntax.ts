/** Bits of {@link CLASS}. */
export const TOKEN = 1
export const FIELD = 2
export const TARGET = 4

/**
 * Character classes of RFC 9110 5.6.2 (`token`), 5.5 (what a field value may hold: visible characters, space, tab, obs-text)
 * and of a request target (visible ASCII), by latin1 code.
 */
export const CLASS: Uint8Array = new Uint8Array(256)
for (let code = 0x20; code < 256; code++) if (code !== 0x7f) CLASS[code] = FIELD
for (let code = 0x21; code < 0x7f; code++) CLASS[code]! |= TARGET
CLASS[9] = FIELD
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") CLASS[char.charCodeAt(0)]! |= TOKEN

/** True when each character of `text` is of the class; also for ''. */
export function all (text: string, bit: number): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || (CLASS[code]! & bit) === 0) return false
  }
  return true
}
