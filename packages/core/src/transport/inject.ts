import { PassThrough, type Readable } from 'node:stream'
import { TransportError, type Attempt, type AttemptHandler, type Transport, type TransportRequest, type TransportStats } from './contract.ts'

interface InjectedResponse {
  readonly statusCode: number
  readonly statusMessage: string
  readonly raw: { readonly res: unknown }
  readonly headers: Record<string, string | string[] | number | undefined>
  stream (): Readable
}

/** What an in-process member must offer: a Fastify app does. */
export interface InjectableApp {
  inject (options: {
    method: never
    url: string
    headers: Record<string, string | string[]>
    payload?: Readable | Buffer
    payloadAsStream: true
  }): PromiseLike<unknown>
}

class InjectedAttempt implements Attempt {
  readonly #handler: AttemptHandler
  readonly #body: PassThrough | undefined
  #response: Readable | undefined
  #over = false

  constructor (app: InjectableApp, request: TransportRequest, handler: AttemptHandler) {
    this.#handler = handler
    const streamed = request.body !== null && !Buffer.isBuffer(request.body)
    this.#body = streamed ? new PassThrough() : undefined
    this.#body?.on('drain', () => { if (!this.#over) handler.onDrain() })
    // A field may be called `constructor`.
    const headers = Object.create(null) as Record<string, string | string[]>
    for (let i = 0; i < request.headers.length; i += 2) {
      const name = request.headers[i]!.toLowerCase()
      const value = request.headers[i + 1]!
      const before = headers[name]
      headers[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
    }
    if (request.body !== null && !Buffer.isBuffer(request.body) && request.body.length !== undefined) headers['content-length'] = String(request.body.length)
    const payload = Buffer.isBuffer(request.body) ? request.body : this.#body
    if (streamed) queueMicrotask(() => { if (!this.#over) handler.onSent() })
    queueMicrotask(() => {
      if (this.#over) return
      if (request.upgrade !== undefined) return this.#fail('connect-failed', 'connect', 'an in-process upstream cannot switch protocols')
      // inject gives a thenable; the wrapped promise makes its failure ours.
      Promise.resolve(app.inject({
        method: request.method as never, url: request.path, headers, ...(payload === undefined ? {} : { payload }), payloadAsStream: true
      })).then((response) => this.#answer(response as InjectedResponse), (error: Error) => this.#fail('connect-failed', 'request', error.message))
    })
  }

  write (chunk: Buffer): boolean {
    return this.#body === undefined || this.#over || this.#body.write(Buffer.from(chunk))
  }

  end (): void {
    this.#body?.end()
  }

  resume (): void {
    this.#response?.resume()
  }

  abort (): void {
    this.#over = true
    this.#body?.destroy()
    this.#response?.destroy()
  }

  #answer (response: InjectedResponse): void {
    if (this.#over) return
    const headers: string[] = []
    for (const [name, value] of Object.entries(response.headers)) {
      if (Array.isArray(value)) for (const one of value) headers.push(name, one)
      else if (value !== undefined) headers.push(name, String(value))
    }
    const length = response.headers['content-length']
    this.#handler.onHead(response.statusCode, response.statusMessage ?? '', headers, length === undefined ? -1 : Number(length), false)
    const stream = this.#response = response.stream()
    stream.on('data', (chunk: Buffer) => { if (!this.#over && !this.#handler.onData(chunk, false)) stream.pause() })
    stream.on('end', () => {
      if (this.#over) return
      this.#over = true
      this.#handler.onComplete(undefined)
    })
    stream.on('error', (error) => { this.#fail('truncated', 'body', error.message) })
  }

  #fail (code: 'connect-failed' | 'truncated', phase: 'connect' | 'request' | 'body', message: string): void {
    if (this.#over) return
    this.#over = true
    this.#handler.onError(new TransportError(code, phase, message))
  }
}

/** In-process members: the request goes through `inject`, without a socket. No upgrades and no interim responses. */
export class InjectTransport implements Transport {
  readonly #app: InjectableApp
  readonly stats: TransportStats = { open: 0, idle: 0, connecting: 0 }

  constructor (app: InjectableApp) {
    this.#app = app
  }

  dispatch (request: TransportRequest, handler: AttemptHandler): Attempt {
    return new InjectedAttempt(this.#app, request, handler)
  }

  close (): Promise<void> {
    return Promise.resolve()
  }

  destroy (): void {}
}
