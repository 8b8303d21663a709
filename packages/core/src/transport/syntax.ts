// Regular expressions, since they are several times faster than loops over characters. None is global: no state.
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const TARGET = /^[\x21-\x7e]+$/

/** RFC 9110 5.6.2. */
export function isToken (text: string): boolean {
  return TOKEN.test(text)
}

/** What a field value may hold (RFC 9110 5.5), as latin1: visible characters, space, tab, obs-text. */
export function isFieldValue (text: string): boolean {
  return FIELD_VALUE.test(text)
}

/** A request target: visible ASCII. */
export function isTarget (text: string): boolean {
  return TARGET.test(text)
}
