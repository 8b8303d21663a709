import type { ConnectionOptions } from 'node:tls'
import type { Agent, Dispatcher } from 'undici'

/** Bytes of a list, and of one line or event of a stream, that are read at most. */
export const LIMIT = 67_108_864

export interface Answer {
  readonly status: number
  /** The first value of a response field, by its name in small letters. */
  header (name: string): string | undefined
  /** The whole body; rejects for one beyond 64 MiB. */
  text (): Promise<string>
  /** The body as it comes. Breaking off the loop breaks off the response. */
  chunks (): AsyncIterable<string>
}

export interface Wanted {
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
  /** Milliseconds to the response head. */
  readonly headTimeout: number
  /** Milliseconds between two pieces of the body. */
  readonly idleTimeout: number
}

/** An HTTP API that is asked for members. */
export class Source {
  readonly #base: URL
  readonly #tls: ConnectionOptions
  readonly #headers: () => Promise<Readonly<Record<string, string>>>
  #agent: Promise<Agent> | undefined

  /** `headers` is asked before each request: tokens change. */
  constructor (base: string, tls: ConnectionOptions, headers: () => Promise<Readonly<Record<string, string>>>) {
    this.#base = new URL(base)
    this.#tls = tls
    this.#headers = headers
  }

  /** Asks for a path below the base, or for the base itself. */
  async get (path: string, { headers, signal, headTimeout, idleTimeout }: Wanted): Promise<Answer> {
    this.#agent ??= this.#connect(signal)
    const dispatcher = await this.#agent
    const url = path === '' ? this.#base : new URL(this.#base.href.replace(/\/$/, '') + path)
    const { request } = await import('undici')
    const response = await request(url, {
      dispatcher, signal, headers: { ...await this.#headers(), ...headers }, headersTimeout: headTimeout, bodyTimeout: idleTimeout
    })
    const { statusCode: status, body } = response
    return { status, header: (name) => first(response.headers[name]), text: () => whole(body), chunks: () => decoded(body) }
  }

  async #connect (signal: AbortSignal): Promise<Agent> {
    const { Agent } = await import('undici')
    const agent = new Agent({ connect: this.#tls as Agent.Options['connect'] & object, keepAliveTimeout: 60_000 })
    signal.addEventListener('abort', () => { agent.destroy().catch(() => {}) }, { once: true })
    return agent
  }
}

const first = (value: string | string[] | undefined): string | undefined => Array.isArray(value) ? value[0] : value

async function whole (body: Dispatcher.ResponseData['body']): Promise<string> {
  let text = ''
  for await (const chunk of decoded(body)) {
    text += chunk
    if (text.length > LIMIT) throw new Error(`more than ${LIMIT} bytes`)
  }
  return text
}

async function * decoded (body: Dispatcher.ResponseData['body']): AsyncIterable<string> {
  const decoder = new TextDecoder()
  for await (const chunk of body) yield decoder.decode(chunk as Buffer, { stream: true })
}

/** Lines of a stream of text. The rest behind the last line's end is no line. */
export async function * linesOf (chunks: AsyncIterable<string>): AsyncIterable<readonly string[]> {
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    if (rest.length > LIMIT) throw new Error(`a line of more than ${LIMIT} characters`)
    if (lines.length > 0) yield lines
  }
}

/** Reads a body that has to be JSON. */
export async function jsonOf (answer: Answer): Promise<unknown> {
  const text = await answer.text()
  if (answer.status !== 200) throw new StatusError(answer.status, text)
  return JSON.parse(text) as unknown
}

/** An answer that is none. */
export class StatusError extends Error {
  readonly status: number

  constructor (status: number, text: string) {
    const word = text.slice(0, 200).replace(/\s+/g, ' ').trim()
    super(`answered ${status}${word === '' ? '' : `: ${word}`}`)
    this.status = status
  }
}

/** Schema of an address of an API. */
export const apiSchema: object = { type: 'string', pattern: '^https?://[^\\s]+$' }
