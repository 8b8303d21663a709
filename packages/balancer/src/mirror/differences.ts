import type { AnswerDifference } from '@headgate/core'
import { type Ignored, pointerOf } from './ignore.ts'

/** More are counted, and not told. */
const TOLD = 20
const SHOWN = 200
/** Deeper JSON than anybody writes; the comparison walks it by recursion. */
const DEPTH = 200

/** Where two answers differ. */
export class Differences {
  readonly list: AnswerDifference[] = []
  count = 0
  readonly #values: boolean

  constructor (values: boolean) {
    this.#values = values
  }

  /** `undefined`: that side has none. */
  add (part: AnswerDifference['part'], at: string, expected: unknown, actual: unknown): void {
    this.count++
    if (this.list.length >= TOLD) return
    const change = expected === undefined ? 'added' : actual === undefined ? 'missing' : 'changed'
    this.list.push({ part, at, change, ...this.#values && { expected: shown(expected), actual: shown(actual) } })
  }
}

function shown (value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value) ?? ''
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text
}

/** Compares two JSON values. Throws a RangeError where they are too deep. */
export function compareJson (expected: unknown, actual: unknown, ignored: Ignored, found: Differences, path: string[] = []): void {
  if (path.length > DEPTH) throw new RangeError('the JSON is too deep')
  if (expected === actual || ignored(path)) return
  const isObject = typeof expected === 'object' && expected !== null && typeof actual === 'object' && actual !== null
  if (!isObject || Array.isArray(expected) !== Array.isArray(actual)) return found.add('body', pointerOf(path), expected, actual)
  for (const name of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
    path.push(name)
    compareJson(member(expected, name), member(actual, name), ignored, found, path)
    path.pop()
  }
}

/** Its own alone: a name may be `constructor`. */
const member = (value: object, name: string): unknown => Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined
