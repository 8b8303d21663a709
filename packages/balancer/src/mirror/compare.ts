import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate } from 'node:zlib'
import { fieldOf } from '../fields.ts'
import type { Answer } from './answer.ts'
import { Differences, compareJson } from './differences.ts'
import { type Ignored, compileIgnored } from './ignore.ts'
import type { CompareOptions } from './options.ts'

/** What came of a comparison. `skipped` says why there was none; '' where there was. */
export interface Verdict {
  readonly skipped: string
  readonly found: Differences
}

const DECODERS: Readonly<Record<string, (body: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>>> = {
  gzip: promisify(gunzip), 'x-gzip': promisify(gunzip), br: promisify(brotliDecompress), deflate: promisify(inflate)
}
/** How much longer than its bound an encoded answer may become. */
const EXPANSION = 16

const isJson = (answer: Answer): boolean => /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(fieldOf(answer.headers, 'content-type') ?? '')

/** Compares answers as the options say. */
export class Comparer {
  /** Share of the copies. */
  readonly share: number
  readonly bodyLimit: number
  readonly #status: boolean
  readonly #headers: readonly string[]
  readonly #body: 'json' | 'bytes' | false
  readonly #ignored: Ignored
  readonly #values: boolean

  constructor (options: CompareOptions) {
    this.share = options.share ?? 1
    this.#body = options.body ?? 'json'
    this.bodyLimit = this.#body === false ? 0 : options.bodyLimit ?? 65_536
    this.#status = options.status ?? true
    this.#headers = (options.headers ?? ['content-type']).map((name) => name.toLowerCase())
    this.#ignored = compileIgnored(options.ignore ?? [])
    this.#values = options.values ?? false
  }

  /** Compares two answers that are over. */
  async compare (primary: Answer, shadow: Answer): Promise<Verdict> {
    const found = new Differences(this.#values)
    const skip = (skipped: string): Verdict => ({ skipped, found })
    if (!primary.complete) return skip('primary-incomplete')
    if (!shadow.complete) return skip('shadow-incomplete')
    if (this.#status && primary.status !== shadow.status) found.add('status', '', primary.status, shadow.status)
    for (const name of this.#headers) {
      const [expected, actual] = [allOf(primary.headers, name), allOf(shadow.headers, name)]
      if (expected !== actual) found.add('header', name, expected, actual)
    }
    if (this.#body === false) return skip('')
    if (primary.tooLarge || shadow.tooLarge) return skip(found.count > 0 ? '' : 'too-large')
    const [expected, actual] = [primary.body, shadow.body]
    if (expected.equals(actual)) return skip('')
    try {
      await this.#compareBodies(primary, shadow, expected, actual, found)
    } catch (error) {
      return skip((error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE' || error instanceof RangeError ? 'too-large' : 'not-decoded')
    }
    return skip('')
  }

  async #compareBodies (primary: Answer, shadow: Answer, expected: Buffer, actual: Buffer, found: Differences): Promise<void> {
    const [was, is] = await Promise.all([this.#decoded(primary, expected), this.#decoded(shadow, actual)])
    const values = this.#body === 'json' && isJson(primary) && isJson(shadow) ? parsed(was, is) : undefined
    if (values !== undefined) return compareJson(values[0], values[1], this.#ignored, found)
    if (!was.equals(is)) found.add('body', '', was.toString('latin1'), is.toString('latin1'))
  }

  /** Two servers need not encode one text in the same bytes. */
  async #decoded (answer: Answer, body: Buffer): Promise<Buffer> {
    const coding = (fieldOf(answer.headers, 'content-encoding') ?? 'identity').trim().toLowerCase()
    if (coding === 'identity' || body.length === 0) return body
    if (!Object.hasOwn(DECODERS, coding)) throw new Error(`nobody here knows the coding ${coding}`)
    return DECODERS[coding]!(body, { maxOutputLength: EXPANSION * Math.max(this.bodyLimit, 1024) })
  }
}

/** `undefined` where one of them is not JSON after all. */
function parsed (expected: Buffer, actual: Buffer): [unknown, unknown] | undefined {
  try {
    return [JSON.parse(expected.toString()), JSON.parse(actual.toString())]
  } catch {
    return undefined
  }
}

/** All values of a field, in their order; `undefined` without one. */
function allOf (headers: readonly string[], name: string): string | undefined {
  let all: string | undefined
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length === name.length && headers[i]!.toLowerCase() === name) all = all === undefined ? headers[i + 1]! : `${all}, ${headers[i + 1]!}`
  }
  return all
}
