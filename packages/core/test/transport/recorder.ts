import { createHash, type Hash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Attempt, AttemptHandler, Transport, TransportError, TransportRequest } from '../../src/index.ts'

export const GET: TransportRequest = {
  method: 'GET', path: '/', headers: ['Host', 'h'], body: null, emptyBody: false, upgrade: undefined, expectContinue: false
}

type Hooks = Partial<{
  [name in keyof AttemptHandler]: (recorder: Recorder, ...args: Parameters<AttemptHandler[name]>) => unknown
}>

/** Writes down what a handler is told, checks the contract's order, and does what the hooks say. */
export class Recorder implements AttemptHandler {
  readonly #hooks: Hooks
  readonly #hash: Hash = createHash('sha256')
  readonly #over: () => void
  attempt!: Attempt
  /** The events' names, `onData` once however many pieces there were. */
  events: string[] = []
  interim: [number, readonly string[]][] = []
  status = 0
  reason = ''
  headers: readonly string[] = []
  length = NaN
  complete = false
  body = ''
  size = 0
  pieces = 0
  trailers: readonly string[] | undefined
  error: TransportError | undefined
  socket: Duplex | undefined
  upgradeHead = ''
  /** The last piece was announced as such. */
  last = false
  #ended = false
  /** The first violation of the contract. */
  violation = ''
  readonly ended: Promise<this>

  constructor (hooks: Hooks = {}) {
    this.#hooks = hooks
    let over!: () => void
    this.ended = new Promise<void>((resolve) => { over = resolve }).then(() => this)
    this.#over = over
  }

  get digest (): string { return this.#hash.digest('hex') }
  get failure (): string { return this.error === undefined ? '' : `${this.error.code} ${this.error.phase}${this.error.stale ? ' stale' : ''}` }

  /** For attempts that are aborted: nothing may come after this. */
  close (): void {
    this.#ended = true
    this.#over()
  }

  #told (event: string): void {
    if (this.attempt === undefined) this.violation ||= `${event} before dispatch returned`
    if (this.#ended) this.violation ||= `${event} after the end`
    if (this.events.at(-1) !== event || event !== 'onData') this.events.push(event)
  }

  onSent (): void {
    this.#told('onSent')
    this.#hooks.onSent?.(this)
  }

  onInformational (status: number, headers: readonly string[]): void {
    this.#told('onInformational')
    this.interim.push([status, headers])
    this.#hooks.onInformational?.(this, status, headers)
  }

  onHead (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void {
    if (this.status !== 0) this.violation ||= 'a second head'
    this.#told('onHead')
    Object.assign(this, { status, reason, headers, length, complete })
    this.#hooks.onHead?.(this, status, reason, headers, length, complete)
  }

  onData (chunk: Buffer, last: boolean): boolean {
    this.#told('onData')
    if (this.status === 0) this.violation ||= 'data before the head'
    if (this.last || this.complete) this.violation ||= 'data after the last'
    if (chunk.length === 0) this.violation ||= 'an empty piece'
    this.last = last
    this.size += chunk.length
    this.pieces++
    this.#hash.update(chunk)
    if (this.body.length < 100_000) this.body += chunk.toString('latin1')
    return (this.#hooks.onData?.(this, chunk, last) ?? true) as boolean
  }

  onComplete (trailers: readonly string[] | undefined): void {
    this.#told('onComplete')
    if (this.status === 0) this.violation ||= 'complete without a head'
    this.trailers = trailers
    this.#ended = true
    this.#hooks.onComplete?.(this, trailers)
    this.#over()
  }

  onDrain (): void {
    this.#told('onDrain')
    this.#hooks.onDrain?.(this)
  }

  onUpgrade (headers: readonly string[], socket: Duplex, head: Buffer): void {
    this.#told('onUpgrade')
    Object.assign(this, { headers, socket, upgradeHead: head.toString('latin1') })
    this.#ended = true
    this.#hooks.onUpgrade?.(this, headers, socket, head)
    this.#over()
  }

  onError (error: TransportError): void {
    this.#told('onError')
    this.error = error
    this.#ended = true
    this.#hooks.onError?.(this, error)
    this.#over()
  }
}

/** Sends a request; the recorder's `ended` tells when it is over. */
export function send (transport: Transport, request: Partial<TransportRequest> = {}, hooks: Hooks = {}): Recorder {
  const recorder = new Recorder(hooks)
  recorder.attempt = transport.dispatch({ ...GET, ...request }, recorder)
  return recorder
}
